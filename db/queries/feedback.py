"""Events applied to the ledger and the stats. Order-free: feedback is a union of bits, counts follow the bits."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.models import Client, Event, FlowExecution, Message
from db.queries.stats import EMAIL_COUNTERS, SMS_COUNTERS, move_sendmode_stats, move_stats
from db.queries.transitions import hold_batches
from db.states import Channel, Feedback, MessageState

_EVENTS = Event.metadata.tables[Event.__tablename__]
# States that a signed event about the message proves wrong: the provider did take it.
_REFUTED = (MessageState.PENDING, MessageState.UNKNOWN)


@dataclass(frozen=True)
class EventRow:
    """One event as it is stored; `delivery_id` is the webhook it came in, None for what a client did with us."""

    delivery_id: int | None
    fingerprint: bytes
    provider_event_id: str | None
    provider: str
    kind: str
    message_id: int | None
    client_id: int | None
    address: str | None
    occurred_at: datetime
    url: str | None
    classification: str | None
    reason: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class KnownMessage:
    """What an event needs to know of the message it is about."""

    id: int
    client_id: int
    execution_id: int
    flow_id: int
    channel: Channel
    address: str | None


def insert_events(session: Session, rows: Sequence[EventRow]) -> int:
    """Store events; copies of stored ones, by fingerprint or by the provider's id, are dropped. Returns new ones."""
    if not rows:
        return 0
    values = [{**vars(row), "raw": dict(row.raw)} for row in rows]
    result: Any = session.execute(insert_ignore(_EVENTS), values)
    return int(result.rowcount)


def assign_events(session: Session, message_ids: Sequence[int]) -> None:
    """Give the events of these messages to the client whose the messages are now, after a merge."""
    owner = select(Message.client_id).where(Message.id == Event.message_id).scalar_subquery()
    session.execute(
        update(Event)
        .where(Event.message_id.in_(message_ids))
        .values(client_id=owner)
        .execution_options(synchronize_session=False)
    )


def find_messages(session: Session, references: Iterable[tuple[str, int]]) -> dict[int, KnownMessage]:
    """Messages by id, of those whose execution has the uid of the reference `(uid, message_id)`."""
    wanted = {message_id: uid for uid, message_id in references}
    rows = session.execute(
        select(
            Message.id,
            Message.client_id,
            Message.execution_id,
            FlowExecution.flow_id,
            Message.channel,
            Message.address,
            FlowExecution.uid,
        )
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
        .where(Message.id.in_(wanted))
    )
    return {row[0]: KnownMessage(*row[:6]) for row in rows if wanted[row[0]] == row[6]}


def find_latest_sms(session: Session, phone: str) -> KnownMessage | None:
    """The last SMS that went to a phone: what a reply without any reference most likely answers."""
    row = session.execute(
        select(
            Message.id,
            Message.client_id,
            Message.execution_id,
            FlowExecution.flow_id,
            Message.channel,
            Message.address,
        )
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
        .join(Client, Client.id == Message.client_id)
        .where(
            # By way of the client, whose phone is indexed: the ledger's addresses are not.
            Client.phone == phone,
            Message.channel == Channel.SMS,
            Message.address == phone,
            Message.state.in_([MessageState.ACCEPTED, MessageState.UNKNOWN]),
        )
        .order_by(Message.id.desc())
        .limit(1)
    ).one_or_none()
    return KnownMessage(*row) if row else None


def apply_feedback(session: Session, bits: Mapping[int, Feedback]) -> set[int]:
    """Add bits of feedback to messages and move the stats by what was new; returns the executions it touched.

    A message that is pending, sending or unknown becomes accepted: the event proves that the provider took it.
    """
    pending = _list_pending(session, bits)
    being_sent = hold_batches(session, pending)
    rows = session.execute(
        select(
            Message.id, Message.execution_id, Message.channel, Message.state, Message.feedback, Message.parts
        )
        .where(Message.id.in_(bits))
        .order_by(Message.id)
        .with_for_update()
    ).all()
    stats: dict[int, Counter[str]] = {}
    sms: dict[int, Counter[str]] = {}
    by_bits: dict[Feedback, list[int]] = {}
    refuted: list[int] = []
    # A person had it sent again since the first look; held in this order it may be a deadlock, which is run again.
    late = [row.id for row in rows if row.state is MessageState.PENDING and row.id not in pending]
    being_sent |= hold_batches(session, late)
    for message_id, execution_id, channel, state, before, parts in rows:
        counts = stats.setdefault(execution_id, Counter())
        sms_counts = sms.setdefault(execution_id, Counter())
        new = bits[message_id] & ~Feedback(before)
        if new:
            by_bits.setdefault(new, []).append(message_id)
            counts.update(column for bit, column in EMAIL_COUNTERS.items() if bit in new)
        if new and channel is Channel.SMS:
            sms_counts.update(column for bit, column in SMS_COUNTERS.items() if bit in new)
        if state in _REFUTED:
            refuted.append(message_id)
            # One that became unknown since the first look may be in a batch that is being sent again for others.
            is_being_sent = state is MessageState.PENDING and message_id in being_sent
            counts[MessageState.SENDING.value if is_being_sent else state.value] -= 1
            counts[MessageState.ACCEPTED.value] += 1
            if channel is Channel.SMS:
                sms_counts.update({"sent": 1, "parts": parts or 0})
    _store(session, by_bits, refuted)
    for execution_id in sorted(stats):
        move_stats(session, execution_id, stats[execution_id])
        move_sendmode_stats(session, execution_id, sms[execution_id])
    return set(stats)


def _list_pending(session: Session, message_ids: Iterable[int]) -> Sequence[int]:
    """Those whose batch has to be held before they are."""
    return session.scalars(
        select(Message.id).where(Message.id.in_(list(message_ids)), Message.state == MessageState.PENDING)
    ).all()


def _store(session: Session, by_bits: Mapping[Feedback, list[int]], refuted: list[int]) -> None:
    quiet = {"synchronize_session": False}
    for new, ids in by_bits.items():
        session.execute(
            update(Message)
            .where(Message.id.in_(ids))
            .values(feedback=Message.feedback.bitwise_or(int(new)))
            .execution_options(**quiet)
        )
    if refuted:
        session.execute(
            update(Message)
            .where(Message.id.in_(refuted))
            .values(state=MessageState.ACCEPTED)
            .execution_options(**quiet)
        )
