"""Several clients made one: what each table holds about the others becomes the survivor's."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, literal, select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.errors import NotFound
from db.models import (
    Batch,
    Client,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    FormerMember,
    ImportChange,
    Message,
    Unsubscribed,
)
from db.models.suppressions import EVERYWHERE
from db.queries.events import assign_events
from db.queries.stats import move_stats, reason_key
from db.queries.transitions import hold_batches
from db.states import BatchState, Breakdown, Channel, Consent, Exclusion, MessageState, SuppressionReason

MERGE = "merge_clients"
_SAID_NO = (
    SuppressionReason.UNSUBSCRIBE,
    SuppressionReason.ONE_CLICK,
    SuppressionReason.SPAM_REPORT,
    SuppressionReason.STOP,
    SuppressionReason.MANUAL,
)
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Moved:
    """How many rows became the survivor's."""

    lists: int
    consents: int
    former_lists: int
    import_changes: int


def list_clients_of(session: Session, client_ids: Sequence[int], *, lock: bool) -> list[dict[str, Any]]:
    """The columns of these clients, in this order; locked, nobody changes or deletes them meanwhile.

    Raises:
        NotFound: names the first one that is not there.
    """
    query = select(*Client.__table__.columns).where(Client.id.in_(client_ids)).order_by(Client.id)
    rows = session.execute(query.with_for_update() if lock else query).mappings()
    found = {row["id"]: dict(row) for row in rows}
    missing = next((key for key in client_ids if key not in found), None)
    if missing is not None:
        raise NotFound("client", missing)
    return [found[key] for key in client_ids]


def list_unsubscribed_channels(
    session: Session, emails: Collection[str], phones: Collection[str]
) -> set[Channel]:
    """Channels on which somebody said, for one of the addresses, that they want nothing at all."""
    found = set()
    for channel, addresses in ((Channel.EMAIL, emails), (Channel.SMS, phones)):
        said_no = select(Unsubscribed.id).where(
            Unsubscribed.channel == channel,
            Unsubscribed.address.in_(addresses),
            Unsubscribed.scope == EVERYWHERE,
            Unsubscribed.reason.in_(_SAID_NO),
            Unsubscribed.active.is_(True),
        )
        if addresses and session.scalars(said_no.limit(1)).first() is not None:
            found.add(channel)
    return found


def list_own_messages(session: Session, client_ids: Sequence[int], *, lock: bool) -> list[dict[str, Any]]:
    """id, client_id, execution_id, step_id, channel and state of the messages of these clients; `sending` where their batch is.

    Locked, their batches are held, and then they: nobody sends them, or records what became of them, meanwhile.
    """
    columns = (
        Message.id,
        Message.client_id,
        Message.execution_id,
        Message.step_id,
        Message.channel,
        Message.state,
    )
    query = select(*columns).where(Message.client_id.in_(client_ids)).order_by(Message.id)
    pending = [row.id for row in session.execute(query) if row.state is MessageState.PENDING]
    being_sent = hold_batches(session, pending) if lock else _in_sending(session, pending)
    rows = [dict(row) for row in session.execute(query.with_for_update() if lock else query).mappings()]
    # A person had some sent again since the first look; held in this order it may be a deadlock, which is run again.
    late = [row["id"] for row in rows if row["state"] is MessageState.PENDING and row["id"] not in pending]
    if lock:
        being_sent |= hold_batches(session, late)
    for row in rows:
        if row["state"] is MessageState.PENDING and row["id"] in being_sent:
            row["state"] = MessageState.SENDING
    return rows


def assign_messages(session: Session, owners: Mapping[int, int]) -> None:
    """Give messages, and their events, to other clients, all at once: two may take each other's place in the unique key."""
    if not owners:
        return
    ids = sorted(owners)
    moving = update(Message).execution_options(**_QUIET)
    session.execute(moving.where(Message.id.in_(ids)).values(client_id=-Message.id))
    by_owner: dict[int, list[int]] = {}
    for message_id in ids:
        by_owner.setdefault(owners[message_id], []).append(message_id)
    for owner, group in by_owner.items():
        session.execute(moving.where(Message.id.in_(group)).values(client_id=owner))
    assign_events(session, ids)


def exclude_merged(session: Session, message_ids: Sequence[int], execution_of: Mapping[int, int]) -> None:
    """Pending messages whose person is written to by another one. The caller holds their batches."""
    if not message_ids:
        return
    session.execute(
        update(Message)
        .where(Message.id.in_(message_ids))
        .values(state=MessageState.EXCLUDED, reason=Exclusion.MERGED)
        .execution_options(**_QUIET)
    )
    for execution_id, count in sorted(Counter(execution_of[key] for key in message_ids).items()):
        moved = {MessageState.PENDING.value: -count, MessageState.EXCLUDED.value: count}
        moved[reason_key(Breakdown.EXCLUDED, Exclusion.MERGED)] = count
        move_stats(session, execution_id, moved)


def count_new_lists(session: Session, survivor_id: int, others: Sequence[int]) -> int:
    """Static lists that the survivor is not on, and one of the others is."""
    mine = select(ClientListMember.client_list_id).where(ClientListMember.client_id == survivor_id)
    return session.scalars(
        select(func.count(func.distinct(ClientListMember.client_list_id))).where(
            ClientListMember.client_id.in_(others), ClientListMember.client_list_id.not_in(mine)
        )
    ).one()


def move_rows(session: Session, survivor_id: int, others: Sequence[int]) -> Moved:
    """Lists (with the import that put the client there), consents, former lists, imports and earlier merges.

    What an import changed of one of the others is no longer what it would find in the survivor, so the moved row says that the
    import touched the client, and holds nothing to put back.
    """
    lists = select(
        ClientListMember.client_list_id,
        literal(survivor_id),
        ClientListMember.added_at,
        ClientListMember.import_id,
    ).where(ClientListMember.client_id.in_(others))
    changes = select(ImportChange.import_id, literal(survivor_id), literal({}, ImportChange.before.type))
    moved = Moved(
        lists=_insert(
            session, ClientListMember, ("client_list_id", "client_id", "added_at", "import_id"), lists
        ),
        consents=_take_over(session, ConsentChange, survivor_id, others),
        former_lists=_take_over(session, FormerMember, survivor_id, others),
        import_changes=_insert(
            session,
            ImportChange,
            ("import_id", "client_id", "before"),
            changes.where(ImportChange.client_id.in_(others)).distinct(),
        ),
    )
    _take_over(session, ClientMerge, survivor_id, others)
    return moved


def insert_merges(session: Session, survivor_id: int, others: Sequence[int], *, merged_by: str) -> None:
    session.add_all(
        ClientMerge(merged_id=key, client_id=survivor_id, merged_by=merged_by[:100]) for key in others
    )
    session.flush()


def replace_clients(
    session: Session, survivor_id: int, others: Sequence[int], values: Mapping[str, Any]
) -> None:
    """Delete the others and write the survivor, in this order: it may take over what one of them was recognised by."""
    session.execute(delete(Client).where(Client.id.in_(others)).execution_options(**_QUIET))
    session.execute(
        update(Client).where(Client.id == survivor_id).values(**values).execution_options(**_QUIET)
    )


def insert_denials(session: Session, client_id: int, channels: Collection[Channel]) -> None:
    """What the survivor has denied since the merge."""
    session.add_all(
        ConsentChange(client_id=client_id, channel=channel, consent=Consent.DENIED, source="merge")
        for channel in channels
    )
    session.flush()


def list_merged_ids(session: Session, client_id: int) -> Sequence[int]:
    """Clients that were merged into this one: some of its messages may be under their ids."""
    return session.scalars(select(ClientMerge.merged_id).where(ClientMerge.client_id == client_id)).all()


def _in_sending(session: Session, message_ids: Sequence[int]) -> set[int]:
    if not message_ids:
        return set()
    rows = session.scalars(
        select(Message.id)
        .join(
            Batch,
            (Batch.execution_id == Message.execution_id)
            & Message.id.between(Batch.first_message_id, Batch.last_message_id),
        )
        .where(Message.id.in_(message_ids), Batch.state == BatchState.SENDING)
    )
    return set(rows)


def _insert(session: Session, model: Any, columns: Sequence[str], rows: Any) -> int:
    result: Any = session.execute(insert_ignore(model).from_select(columns, rows, include_defaults=False))
    return int(result.rowcount)


def _take_over(session: Session, model: Any, survivor_id: int, others: Sequence[int]) -> int:
    result: Any = session.execute(
        update(model)
        .where(model.client_id.in_(others))
        .values(client_id=survivor_id)
        .execution_options(**_QUIET)
    )
    return int(result.rowcount)
