"""What events do to the ledger and the stats.

Order-free: feedback is a union of bits, but for who opened and clicked, which the caller tells from all events of a message
while it holds the message (`lock_messages`). Counts follow the bits.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import TextClause, func, select, update
from sqlalchemy.orm import Session

from db.dialect import gathered, json_arrays, looked_up, row_lock, with_rows
from db.models import Batch, Client, FlowExecution, Message
from db.queries.parameters import as_text
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
_MESSAGES = Message.__tablename__
_CHANNELS = {each.value: each for each in Channel}
_STATES = {each.value: each for each in MessageState}
_LOCKED_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What an event needs to know of the message it is about."""

    id: int
    client_id: int
    execution_id: int
    channel: Channel
    address: str | None


class LockedMessage(NamedTuple):
    """A message that nobody else changes until the transaction ends; `feedback` are bits of `db.states.Feedback`."""

    id: int
    client_id: int
    execution_id: int
    channel: Channel
    address: str | None
    state: MessageState
    feedback: int
    parts: int | None


@dataclass
class Moves:
    """What moves the counts of one execution besides the bits of its messages: events, their reasons and minutes."""

    stats: Counter[str] = field(default_factory=Counter)
    minutes: Counter[tuple[datetime, str]] = field(default_factory=Counter)


@dataclass
class Held:
    """Messages that are held, by id, and those among them whose batch is in `sending`."""

    messages: dict[int, LockedMessage]
    being_sent: Collection[int] = ()


def list_uids(session: Session, execution_ids: Collection[int]) -> dict[int, str]:
    """The uid of each execution, which a reference to one of its messages begins with."""
    if not execution_ids:
        return {}
    query = select(FlowExecution.id, FlowExecution.uid).where(FlowExecution.id.in_(list(execution_ids)))
    return dict(session.execute(query).tuples().all())


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
    # Not as a join: the optimizer of MariaDB would begin at the execution and read all its messages.
    uids = list_uids(session, {row.execution_id for row in rows})
    return {row.id: KnownMessage(*row) for row in rows if wanted[row.id] == uids[row.execution_id]}


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
            Message.channel,
        )
        .join(
            Message,
            (Message.execution_id == Batch.execution_id)
            & Message.id.between(Batch.first_message_id, Batch.last_message_id),
        )
        .where(
            Batch.provider_message_id.in_({key for key, _ in wanted}),
            Message.channel == Channel.EMAIL,
            Message.address.in_({address for _, address in wanted}),
        )
    )
    return {
        (key, address): KnownMessage(message_id, client_id, execution_id, channel, address)
        for key, address, message_id, client_id, execution_id, channel in rows
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
            # Not an unknown one: an answer without a reference may be to the SMS before it, and would be false evidence.
            Message.state == MessageState.ACCEPTED,
        )
        .group_by(Message.address)
        .subquery("latest")
    )
    rows = session.execute(
        select(Message.id, Message.client_id, Message.execution_id, Message.channel, Message.address).join(
            latest, latest.c.id == Message.id
        )
    )
    return {row[4]: KnownMessage(*row) for row in rows}


def find_clients_by_phone(session: Session, phones: Collection[str]) -> dict[str, int]:
    """The client of each phone; of a family that shares one, the oldest."""
    if not phones:
        return {}
    rows = session.execute(
        select(Client.phone, func.min(Client.id)).where(Client.phone.in_(list(phones))).group_by(Client.phone)
    )
    return {phone: client_id for phone, client_id in rows if phone is not None}


def lock_messages(session: Session, message_ids: Collection[int]) -> Held:
    """The messages, with their batches where these may be on their way, held until the transaction ends."""
    ids = sorted(message_ids)
    pending = _list_pending(session, ids)
    being_sent = hold_batches(session, pending)
    messages = {message.id: message for message in _read_locked(session, ids)}
    # A person had it sent again since the first look; held in this order it may be a deadlock, which is run again.
    late = {each.id for each in messages.values() if each.state is MessageState.PENDING} - set(pending)
    return Held(messages, being_sent | hold_batches(session, late))


def apply_feedback(session: Session, bits: Mapping[int, Feedback]) -> set[int]:
    """Add bits of feedback to messages and move the stats by what was new; returns the executions it touched."""
    held = lock_messages(session, bits)
    after = {key: each.feedback | int(bits[key]) for key, each in held.messages.items()}
    return store_feedback(session, held, after)


def store_feedback(
    session: Session, held: Held, after: Mapping[int, int], moves: Mapping[int, Moves] | None = None
) -> set[int]:
    """Give the held messages this feedback, and move the stats by the difference; returns the executions it touched.

    A message that is pending, sending or unknown becomes accepted: the event proves that the provider took it. `moves` are by
    execution.
    """
    stats: dict[int, Counter[str]] = {each.execution_id: Counter() for each in held.messages.values()}
    sms: dict[int, Counter[str]] = {execution_id: Counter() for execution_id in stats}
    by_feedback: dict[int, list[int]] = {}
    changes: Counter[tuple[int, Channel, int, int]] = Counter()
    for message in held.messages.values():
        now = after[message.id]
        if now != message.feedback:
            by_feedback.setdefault(now, []).append(message.id)
            changes[message.execution_id, message.channel, message.feedback, now] += 1
    for (execution_id, channel, before, now), count in changes.items():
        _shift(stats[execution_id], email_counters(before), email_counters(now), count)
        if channel is Channel.SMS:
            _shift(sms[execution_id], sms_counters(before), sms_counters(now), count)
    refuted = [each for each in held.messages.values() if each.state in _REFUTED]
    for message in refuted:
        _accept(
            message, message.id in held.being_sent, stats[message.execution_id], sms[message.execution_id]
        )
    _store(session, by_feedback, [message.id for message in refuted])
    for execution_id in sorted(stats):
        more = (moves or {}).get(execution_id, Moves())
        stats[execution_id].update(more.stats)
        move_stats(session, execution_id, stats[execution_id])
        move_sendmode_stats(session, execution_id, sms[execution_id])
        move_minutes(session, execution_id, more.minutes)
    return set(stats)


def _accept(
    message: LockedMessage, is_being_sent: bool, counts: Counter[str], sms_counts: Counter[str]
) -> None:
    # One that became unknown since the first look may be in a batch that is being sent again for others.
    is_sending = message.state is MessageState.PENDING and is_being_sent
    counts[MessageState.SENDING.value if is_sending else message.state.value] -= 1
    counts[MessageState.ACCEPTED.value] += 1
    if message.channel is Channel.SMS:
        sms_counts.update({"sent": 1, "parts": message.parts or 0})


def _shift(counts: Counter[str], before: frozenset[str], now: frozenset[str], by: int) -> None:
    for name in now - before:
        counts[name] += by
    for name in before - now:
        counts[name] -= by


def _list_pending(session: Session, message_ids: Sequence[int]) -> list[int]:
    """Those whose batch has to be held before they are."""
    statement = _looking_up(session, f"{_MESSAGES}.id", condition=f"{_MESSAGES}.state = 'pending'")
    return [
        message_id
        for some in _pieces(message_ids)
        for message_id in session.scalars(statement, {"ids": as_text([[key] for key in some])})
    ]


def _read_locked(session: Session, message_ids: Sequence[int]) -> Iterator[LockedMessage]:
    """In the order of their ids, so that two who hold the same ones wait for each other and never for ever.

    Hundreds of messages travel as one JSON text: the driver takes rows apart in Python, which would cost more than all else.
    """
    document = f"JSON_ARRAY({', '.join(f'{_MESSAGES}.{name}' for name in LockedMessage._fields)})"
    together = _looking_up(session, f"COUNT(*), {gathered(document)}", lock=True)
    for some in _pieces(message_ids):
        ids = {"ids": as_text([[key] for key in some])}
        count, documents = session.execute(together, ids).one()
        found = _loads(f"[{documents or ''}]")
        if len(found) != count:  # The text was cut: it was longer than what is taken in one piece.
            one_by_one = _looking_up(session, document, lock=True)
            found = [orjson.loads(each) for each in session.scalars(one_by_one, ids)]
        for key, client_id, execution_id, channel, address, state, feedback, parts in found:
            yield LockedMessage(
                key, client_id, execution_id, _CHANNELS[channel], address, _STATES[state], feedback, parts
            )


def _looking_up(
    session: Session, columns: str, *, condition: str = "1 = 1", lock: bool = False
) -> TextClause:
    """A SELECT from the messages whose ids are in the JSON parameter `ids`."""
    source = json_arrays(session.get_bind().dialect, "ids", {"id": "BIGINT"})
    joined = looked_up(session.get_bind().dialect, source, _MESSAGES, on=f"{_MESSAGES}.id = incoming.id")
    suffix = row_lock(session, _MESSAGES) if lock else ""
    return with_rows(f"SELECT {columns} FROM {joined} WHERE {condition}{suffix}", "ids")


def _pieces(message_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(message_ids), _LOCKED_AT_ONCE):
        yield message_ids[start : start + _LOCKED_AT_ONCE]


def _loads(documents: str) -> list[list[Any]]:
    """None of them if the text was cut."""
    try:
        return orjson.loads(documents)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return []


def _store(session: Session, by_feedback: Mapping[int, list[int]], refuted: list[int]) -> None:
    for feedback, ids in by_feedback.items():
        _update(session, ids, feedback=feedback)
    if refuted:
        _update(session, refuted, state=MessageState.ACCEPTED)


def _update(session: Session, ids: list[int], **values: Any) -> None:
    session.execute(update(Message).where(Message.id.in_(ids)).values(**values).execution_options(**_QUIET))
