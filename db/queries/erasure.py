"""Everything that is stored about one person, taken out of every table; what stays are counts, and keyed hashes of the addresses.

The order of locks is that of everybody else: inbox, gate, batches, messages, stats.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.errors import Conflict, NotFound
from db.models import (
    Approval,
    Client,
    Event,
    MemberImport,
    MemberImportChunk,
    Message,
    Unsubscribed,
)
from db.models.suppressions import EVERYWHERE
from db.queries.approvals import insert_approval
from db.queries.merging import list_merged_ids
from db.queries.stats import move_stats, reason_key
from db.queries.suppressions import hold_gate
from db.queries.transitions import hold_batches, rowcount
from db.states import Breakdown, Channel, Exclusion, ImportState, MessageState, SuppressionReason

ERASE = "erase_client"
# No transaction lasts as long: whoever began before an erasure was committed looks back further than this.
_LONGEST_TRANSACTION = timedelta(days=1)
_BUSY = (ImportState.QUEUED, ImportState.RUNNING, ImportState.UNDOING)
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Person:
    """A client, those who were merged into it, and every address that any of them has or was written to at.

    `shared` are addresses that another client has too: they stay, and so do their suppressions.
    """

    client_id: int
    merged_ids: Sequence[int]
    addresses: Mapping[Channel, frozenset[str]]
    shared: Mapping[Channel, frozenset[str]]

    @property
    def ids(self) -> list[int]:
        return [self.client_id, *self.merged_ids]


@dataclass(frozen=True)
class Erased:
    """How much there was: rows that are gone, or that say nothing of the person any more. Counts only."""

    client_id: int
    messages: int
    messages_not_sent: int
    events: int
    webhooks: int
    import_rejects: int
    import_files: int
    suppressions: int
    shared_addresses: int
    lists_naming_them: Sequence[int] = field(default_factory=list)


def get_person(session: Session, client_id: int, *, lock: bool = False) -> Person:
    """Raises NotFound when there is no such client (any more). Locked, nobody is merged into it meanwhile."""
    client = session.get(Client, client_id, populate_existing=True, with_for_update=lock or None)
    if client is None:
        raise NotFound("client", client_id)
    merged = list_merged_ids(session, client_id)
    rows = session.execute(
        select(Message.channel, Message.address)
        .where(Message.client_id.in_([client_id, *merged]), Message.address.is_not(None))
        .distinct()
    )
    all_of: dict[Channel, set[str]] = {Channel.EMAIL: set(), Channel.SMS: set()}
    for channel, address in [*rows, (Channel.EMAIL, client.email), (Channel.SMS, client.phone)]:
        if address:
            all_of[channel].add(address)
    shared = {channel: _shared(session, channel, found, client_id) for channel, found in all_of.items()}
    own = {channel: frozenset(found - shared[channel]) for channel, found in all_of.items()}
    return Person(client_id, merged, own, shared)


def refuse_while_importing(session: Session, *, delete_files: bool) -> int:
    """Nobody can tell whom a file names before it is read; returns how many stored files were deleted.

    Raises:
        Conflict: an import is on, or a file of one that failed is there and `delete_files` does not say that it may go.
    """
    rows = session.execute(
        select(MemberImport.id, MemberImport.state)
        .where(
            MemberImport.id.in_(select(MemberImportChunk.import_id).distinct())
            | MemberImport.state.in_(_BUSY)
        )
        .order_by(MemberImport.id)
    ).all()
    for import_id, state in rows:
        if state in _BUSY:
            raise Conflict(
                f"import {import_id} is {state}: it may name this person; try again when it is over"
            )
    ids = [import_id for import_id, _ in rows]
    if ids and not delete_files:
        raise Conflict(
            f"the file of import {ids[0]} is still stored and may name this person: retry the import, or send "
            '"delete_import_files": true, after which it cannot be retried'
        )
    session.execute(
        delete(MemberImportChunk).where(MemberImportChunk.import_id.in_(ids)).execution_options(**_QUIET)
    )
    return len(ids)


def forget_messages(session: Session, client_ids: Collection[int]) -> tuple[list[int], int]:
    """Messages of these clients lose their address; those that nobody is sending yet are excluded.

    Returns the ids of all of them, and how many were excluded. What is being sent keeps its place in the counts: should it
    come back as not taken, it is excluded when its batch is read, since its client is gone.
    """
    look = select(Message.id, Message.state).where(Message.client_id.in_(client_ids))
    pending = [key for key, state in session.execute(look) if state is MessageState.PENDING]
    being_sent = hold_batches(session, pending)
    rows = session.execute(
        select(Message.id, Message.execution_id, Message.state, Message.reason)
        .where(Message.client_id.in_(client_ids))
        .order_by(Message.id)
        .with_for_update()
    ).all()
    # A person had some sent again since the first look; held in this order it may be a deadlock, which is run again.
    now_pending = [row.id for row in rows if row.state is MessageState.PENDING]
    being_sent |= hold_batches(session, [key for key in now_pending if key not in pending])
    excluded = [row for row in rows if row.state is MessageState.PENDING and row.id not in being_sent]
    ids = [row.id for row in rows]
    _update(
        session, [row.id for row in excluded], state=MessageState.EXCLUDED, reason=Exclusion.CLIENT_DELETED
    )
    for code, group in _provider_words(rows).items():
        _update(session, group, reason=code)
    _update(session, ids, address=None)
    for execution_id, count in sorted(Counter(row.execution_id for row in excluded).items()):
        move = {MessageState.PENDING.value: -count, MessageState.EXCLUDED.value: count}
        move[reason_key(Breakdown.EXCLUDED, Exclusion.CLIENT_DELETED)] = count
        move_stats(session, execution_id, move)
    return ids, len(excluded)


def forget_latecomers(session: Session) -> None:
    """Called at the end of a snapshot: who was erased while it was made is in it like everybody else.

    Behind the gate, so that an erasure is either committed and seen here, or comes later and sees this snapshot.
    """
    hold_gate(session, alone=False)
    since = utc_in(-round(_LONGEST_TRANSACTION.total_seconds()))
    rows = session.scalars(
        select(Approval.details).where(Approval.action == ERASE, Approval.approved_at >= since)
    )
    ids = [key for details in rows for key in (details["client_id"], *details["merged_ids"])]
    if ids:
        forget_messages(session, ids)


def forget_events(session: Session, message_ids: Sequence[int]) -> int:
    """Events of these messages keep their kind and moment."""
    return rowcount(
        session.execute(
            update(Event)
            .where(Event.message_id.in_(message_ids))
            .values(address=None, url=None, reason=None, raw={})
            .execution_options(**_QUIET)
        )
    )


def replace_suppressions(
    session: Session, hashes: Mapping[Channel, Mapping[str, str]], *, source: str
) -> int:
    """In place of all suppressions of the addresses (hash -> address, by channel) stands one of their hash, everywhere.

    The caller holds the gate. Returns how many suppressions went.
    """
    gone = 0
    for channel, by_hash in hashes.items():
        if not by_hash:
            continue
        mine = (Unsubscribed.channel == channel, Unsubscribed.address.in_([*by_hash.values(), *by_hash]))
        gone += rowcount(session.execute(delete(Unsubscribed).where(*mine).execution_options(**_QUIET)))
        session.add_all(
            Unsubscribed(
                channel=channel,
                address=stored,
                scope=EVERYWHERE,
                reason=SuppressionReason.ERASED,
                active=True,
                effective_at=_now(session),
                source=source[:40],
            )
            for stored in by_hash
        )
    session.flush()
    return gone


def list_erased(session: Session, channel: Channel, hashes: Collection[str]) -> set[str]:
    """Those of the hashes (`tasks/erasure.py`) whose address belongs to somebody who was erased."""
    if not hashes:
        return set()
    return set(
        session.scalars(
            select(Unsubscribed.address).where(
                Unsubscribed.channel == channel,
                Unsubscribed.address.in_(list(hashes)),
                Unsubscribed.scope == EVERYWHERE,
                Unsubscribed.reason == SuppressionReason.ERASED,
                Unsubscribed.active.is_(True),
            )
        )
    )


def refuse_erased(session: Session, hashes: Mapping[Channel, Collection[str]]) -> None:
    """Hold back an address that was erased, told by any of the hashes it may have; behind the gate, so that none is erased before this transaction ends.

    Raises:
        Conflict: names the field, and the way out.
    """
    if not hashes:
        return
    hold_gate(session, alone=False)
    for channel, hashed in hashes.items():
        if list_erased(session, channel, hashed):
            field = "email" if channel is Channel.EMAIL else "phone"
            raise Conflict(
                f"this {field} belongs to somebody who was erased; with their consent, lift that first: "
                f"find it at /api/unsubscribed?address= and delete it there",
                field,
            )


def delete_person(session: Session, person: Person) -> None:
    """The client and everything that goes with it: lists, consent log, merges, what imports changed."""
    session.execute(delete(Client).where(Client.id == person.client_id).execution_options(**_QUIET))


def insert_erasure(
    session: Session, erased: Erased, person: Person, *, approved_by: str, token_id: int
) -> int:
    """Who erased whom, by id, and how much it was. Returns the id of the approval."""
    details = {**asdict(erased), "merged_ids": list(person.merged_ids), "token_id": token_id}
    return insert_approval(session, ERASE, approved_by=approved_by, execution_id=None, details=details).id


def _shared(session: Session, channel: Channel, addresses: set[str], client_id: int) -> frozenset[str]:
    column = Client.email if channel is Channel.EMAIL else Client.phone
    others = select(column).where(column.in_(sorted(addresses)), Client.id != client_id)
    return frozenset(address for address in session.scalars(others) if address)


def _provider_words(rows: Sequence[Any]) -> dict[str, list[int]]:
    """Failed messages by the code that their reason begins with, where the provider's own words follow it."""
    groups: dict[str, list[int]] = {}
    for row in rows:
        code, colon, _ = (row.reason or "").partition(":")
        if colon:
            groups.setdefault(code, []).append(row.id)
    return groups


def _update(session: Session, ids: Sequence[int], **values: Any) -> None:
    if ids:
        session.execute(
            update(Message).where(Message.id.in_(ids)).values(**values).execution_options(**_QUIET)
        )


def _now(session: Session) -> Any:
    return session.scalar(select(utc_now()))
