"""Merges clients who are one person, or shows what would come out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from db.engine import Database, Session
from db.errors import Invalid
from db.queries import merging
from db.queries.approvals import insert_approval
from db.queries.suppressions import lock_gate
from tasks.merging.messages import MessagePlan, OwnMessage, plan_messages
from tasks.merging.profiles import MergedProfile, merge_profiles

MOST_CLIENTS = 20
"""That are merged into one at a time: a group that is larger is no person."""


@dataclass(frozen=True)
class MergeWish:
    """Who is to be one client: `client_ids`, in the order in which they fill what `survivor_id` lacks."""

    survivor_id: int
    client_ids: Sequence[int]
    approved_by: str
    token_id: int

    @property
    def order(self) -> list[int]:
        return [self.survivor_id, *self.client_ids]


@dataclass(frozen=True)
class Merge:
    """What comes out: the survivor's profile, and how much of the others becomes its own.

    `messages_kept` stay under the id of a merged client, since the survivor has one of the same step; `messages_not_sent` of
    them were pending. `approval_id` is None in a preview.
    """

    profile: MergedProfile
    lists: int
    messages_moved: int
    messages_kept: int
    messages_not_sent: int
    approval_id: int | None = None


def preview_merge(database: Database, wish: MergeWish) -> Merge:
    """As `merge_clients` would say now; nothing is changed."""
    _check(wish)
    with database.reading() as session:
        profile = _profile(session, wish, lock=False)
        messages = _messages(session, wish, lock=False)
        lists = merging.count_new_lists(session, wish.survivor_id, wish.client_ids)
    return _merge(wish, profile, messages, plan_messages(messages, wish.order), lists)


def merge_clients(database: Database, wish: MergeWish) -> Merge:
    """Make them one, in one transaction.

    Raises:
        Invalid: there are none, too many, or the same twice.
        NotFound: one of them does not exist (any more).
    """
    _check(wish)
    return database.run(partial(_run, wish))


def _run(wish: MergeWish, session: Session) -> Merge:
    # Nobody stores an event of a message meanwhile, under the id of a client who is gone then.
    lock_gate(session)
    profile = _profile(session, wish, lock=True)
    messages = _messages(session, wish, lock=True)
    plan = plan_messages(messages, wish.order)
    merging.assign_messages(session, plan.owners)
    execution_of = {message.id: message.execution_id for message in messages}
    moved = merging.move_rows(session, wish.survivor_id, wish.client_ids)
    merging.insert_merges(session, wish.survivor_id, wish.client_ids, merged_by=wish.approved_by)
    merging.replace_clients(session, wish.survivor_id, wish.client_ids, profile.values)
    merging.insert_denials(session, wish.survivor_id, profile.denied)
    approval_id = _insert_approval(session, wish, len(plan.owners), len(plan.excluded))
    # Last: every lane wants the rows of the stats.
    merging.exclude_merged(session, plan.excluded, execution_of)
    return _merge(wish, profile, messages, plan, moved.lists, approval_id)


def _check(wish: MergeWish) -> None:
    if not 1 <= len(wish.client_ids) <= MOST_CLIENTS:
        raise Invalid(
            "client_ids", f"name 1 to {MOST_CLIENTS} clients to be merged into client {wish.survivor_id}"
        )
    if len(set(wish.order)) < len(wish.order):
        raise Invalid("client_ids", f"name each client once, and not client {wish.survivor_id} itself")


def _profile(session: Session, wish: MergeWish, *, lock: bool) -> MergedProfile:
    survivor, *others = merging.list_clients_of(session, wish.order, lock=lock)
    emails, phones = (
        [each[name] for each in others if each[name] and each[name] != survivor[name]]
        for name in ("email", "phone")
    )
    said_no = merging.list_unsubscribed_channels(session, emails, phones)
    return merge_profiles(survivor, others, said_no)


def _messages(session: Session, wish: MergeWish, *, lock: bool) -> list[OwnMessage]:
    return [OwnMessage(**row) for row in merging.list_own_messages(session, wish.order, lock=lock)]


def _merge(
    wish: MergeWish,
    profile: MergedProfile,
    messages: Sequence[OwnMessage],
    plan: MessagePlan,
    lists: int,
    approval_id: int | None = None,
) -> Merge:
    moved = sum(owner == wish.survivor_id for owner in plan.owners.values())
    theirs = sum(message.client_id != wish.survivor_id for message in messages)
    return Merge(profile, lists, moved, theirs - moved, len(plan.excluded), approval_id)


def _insert_approval(session: Session, wish: MergeWish, moved: int, not_sent: int) -> int:
    details: dict[str, Any] = {
        "client_id": wish.survivor_id,
        "merged_ids": list(wish.client_ids),
        "messages_moved": moved,
        "messages_not_sent": not_sent,
        "token_id": wish.token_id,
    }
    return insert_approval(
        session, merging.MERGE, approved_by=wish.approved_by, execution_id=None, details=details
    ).id
