"""What events do to the ledger and the stats.

Order-free: feedback is a union of bits, but for who opened and clicked, which the caller tells from all events of a message
while it holds the message (`lock_messages`). Counts follow the bits.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.models import Batch, Client, FlowExecution, Message
from db.queries.stats import (
    email_counters,
    move_minutes,
    move_sendmode_stats,
    move_stats,
    sms_counters,
)
from db.queries.transitions import hold_batches
from db.states import Channel, Feedback, MessageState

# States that a signed event about the message proves wrong: the provider did take it.
_REFUTED = (MessageState.PENDING, MessageState.UNKNOWN)
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What an event needs to know of the message it is about."""

    id: int
    client_id: int
    execution_id: int
    flow_id: int
    channel: Channel
    address: str | None


@dataclass(frozen=True, slots=True)
class LockedMessage:
    """A message that nobody else changes until the transaction ends. `counts_as` is the state it is counted in now."""

    id: int
    execution_id: int
    channel: Channel
    state: MessageState
    counts_as: MessageState
    feedback: Feedback
    parts: int | None


@dataclass
class Moves:
    """What moves the counts of one execution besides the bits of its messages: events, their reasons and minutes."""

    stats: Counter[str] = field(default_factory=Counter)
    minutes: Counter[tuple[datetime, str]] = field(default_factory=Counter)


def find_messages(session: Session, references: Iterable[tuple[str, int]]) -> dict[int, KnownMessage]:
    """Messages by id, of those whose execution has the uid of the reference `(uid, message_id)`."""
    wanted = {message_id: uid for uid, message_id in references}
    if not wanted:
        return {}
    rows = session.execute(
        select(Message.id, Message.client_id, Message.execution_id, Message.channel, Message.address).where(
            Message.id.in_(list(wanted))
        )
    ).all()
    # A handful of executions, whatever the number of messages: cheaper than a join for each of these.
    executions = {
        row.id: row
        for row in session.execute(
            select(FlowExecution.id, FlowExecution.uid, FlowExecution.flow_id).where(
                FlowExecution.id.in_({row.execution_id for row in rows})
            )
        )
    }
    return {
        row.id: KnownMessage(
            row.id,
            row.client_id,
            row.execution_id,
            executions[row.execution_id].flow_id,
            row.channel,
            row.address,
        )
        for row in rows
        if executions[row.execution_id].uid == wanted[row.id]
    }


def find_by_provider_ids(
    session: Session, wanted: Collection[tuple[str, str]]
) -> dict[tuple[str, str], KnownMessage]:
    """Emails by (X-Message-Id, address): what an event says that lost our reference on its way."""
    if not wanted:
        return {}
    rows = session.execute(
        select(
            Batch.provider_message_id,
            Message.address,
            Message.id,
            Message.client_id,
            Message.execution_id,
            FlowExecution.flow_id,
            Message.channel,
        )
        .join(
            Message,
            (Message.execution_id == Batch.execution_id)
            & Message.id.between(Batch.first_message_id, Batch.last_message_id),
        )
        .join(FlowExecution, FlowExecution.id == Batch.execution_id)
        .where(
            Batch.provider_message_id.in_({key for key, _ in wanted}),
            Message.channel == Channel.EMAIL,
            Message.address.in_({address for _, address in wanted}),
        )
    )
    return {
        (key, address): KnownMessage(message_id, client_id, execution_id, flow_id, channel, address)
        for key, address, message_id, client_id, execution_id, flow_id, channel in rows
        if (key, address) in wanted
    }


def find_latest_sms(session: Session, phones: Collection[str]) -> dict[str, KnownMessage]:
    """By phone the last SMS that went to it: what a reply without any reference most likely answers."""
    if not phones:
        return {}
    # By way of the client, whose phone is indexed: the ledger's addresses are not.
    latest = (
        select(func.max(Message.id).label("id"))
        .join(Client, Client.id == Message.client_id)
        .where(
            Client.phone.in_(list(phones)),
            Message.channel == Channel.SMS,
            Message.address == Client.phone,
            Message.state.in_([MessageState.ACCEPTED, MessageState.UNKNOWN]),
        )
        .group_by(Message.address)
        .subquery("latest")
    )
    rows = session.execute(
        select(
            Message.id,
            Message.client_id,
            Message.execution_id,
            FlowExecution.flow_id,
            Message.channel,
            Message.address,
        )
        .join(latest, latest.c.id == Message.id)
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
    )
    return {row[5]: KnownMessage(*row) for row in rows}


def find_clients_by_phone(session: Session, phones: Collection[str]) -> dict[str, int]:
    """The client of each phone; of a family that shares one, the oldest."""
    if not phones:
        return {}
    rows = session.execute(
        select(Client.phone, func.min(Client.id)).where(Client.phone.in_(list(phones))).group_by(Client.phone)
    )
    return {phone: client_id for phone, client_id in rows if phone is not None}


def lock_messages(session: Session, message_ids: Collection[int]) -> dict[int, LockedMessage]:
    """The messages, with their batches where these may be on their way, held until the transaction ends."""
    pending = _list_pending(session, message_ids)
    being_sent = hold_batches(session, pending)
    rows = session.execute(
        select(
            Message.id, Message.execution_id, Message.channel, Message.state, Message.feedback, Message.parts
        )
        .where(Message.id.in_(list(message_ids)))
        .order_by(Message.id)
        .with_for_update()
    ).all()
    # A person had it sent again since the first look; held in this order it may be a deadlock, which is run again.
    late = [row.id for row in rows if row.state is MessageState.PENDING and row.id not in pending]
    being_sent |= hold_batches(session, late)
    # One that became unknown since the first look may be in a batch that is being sent again for others.
    return {
        row.id: LockedMessage(
            row.id,
            row.execution_id,
            row.channel,
            row.state,
            MessageState.SENDING if row.state is MessageState.PENDING and row.id in being_sent else row.state,
            Feedback(row.feedback),
            row.parts,
        )
        for row in rows
    }


def apply_feedback(session: Session, bits: Mapping[int, Feedback]) -> set[int]:
    """Add bits of feedback to messages and move the stats by what was new; returns the executions it touched."""
    locked = lock_messages(session, bits)
    return store_feedback(session, locked, {key: each.feedback | bits[key] for key, each in locked.items()})


def store_feedback(
    session: Session,
    locked: Mapping[int, LockedMessage],
    after: Mapping[int, Feedback],
    moves: Mapping[int, Moves] | None = None,
) -> set[int]:
    """Give the locked messages this feedback, and move the stats by the difference; returns the executions it touched.

    A message that is pending, sending or unknown becomes accepted: the event proves that the provider took it. `moves` are by
    execution.
    """
    stats: dict[int, Counter[str]] = {}
    sms: dict[int, Counter[str]] = {}
    by_feedback: dict[Feedback, list[int]] = {}
    refuted: list[int] = []
    for message in locked.values():
        counts = stats.setdefault(message.execution_id, Counter())
        sms_counts = sms.setdefault(message.execution_id, Counter())
        now = after[message.id]
        if now != message.feedback:
            by_feedback.setdefault(now, []).append(message.id)
            _shift(counts, email_counters(message.feedback), email_counters(now))
            if message.channel is Channel.SMS:
                _shift(sms_counts, sms_counters(message.feedback), sms_counters(now))
        if message.state in _REFUTED:
            refuted.append(message.id)
            counts[message.counts_as.value] -= 1
            counts[MessageState.ACCEPTED.value] += 1
            if message.channel is Channel.SMS:
                sms_counts.update({"sent": 1, "parts": message.parts or 0})
    _store(session, by_feedback, refuted)
    for execution_id in sorted(stats):
        more = (moves or {}).get(execution_id, Moves())
        move_stats(session, execution_id, _sum(stats[execution_id], more.stats))
        move_sendmode_stats(session, execution_id, sms[execution_id])
        move_minutes(session, execution_id, more.minutes)
    return set(stats)


def _shift(counts: Counter[str], before: frozenset[str], now: frozenset[str]) -> None:
    counts.update(now - before)
    counts.subtract(before - now)


def _sum(counts: Counter[str], more: Counter[str]) -> Counter[str]:
    """Unlike `+`, with what is negative."""
    total = Counter(counts)
    total.update(more)
    return total


def _list_pending(session: Session, message_ids: Collection[int]) -> Sequence[int]:
    """Those whose batch has to be held before they are."""
    return session.scalars(
        select(Message.id).where(Message.id.in_(list(message_ids)), Message.state == MessageState.PENDING)
    ).all()


def _store(session: Session, by_feedback: Mapping[Feedback, list[int]], refuted: list[int]) -> None:
    for feedback, ids in by_feedback.items():
        _update(session, ids, feedback=int(feedback))
    if refuted:
        _update(session, refuted, state=MessageState.ACCEPTED)


def _update(session: Session, ids: list[int], **values: Any) -> None:
    session.execute(update(Message).where(Message.id.in_(ids)).values(**values).execution_options(**_QUIET))
