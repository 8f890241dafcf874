"""Counts of an execution: moved with the ledger, and recounted from it to prove that they agree."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.errors import NotFound
from db.models import Batch, Message, SendmodeStats, Stats
from db.states import BatchState, Channel, Feedback, MessageState

# A bit of feedback and the column that counts the messages having it.
EMAIL_COUNTERS: Mapping[Feedback, str] = {
    bit: bit.name.lower()
    for bit in (
        Feedback.PROCESSED,
        Feedback.DEFERRED,
        Feedback.DELIVERED,
        Feedback.BOUNCED,
        Feedback.BLOCKED,
        Feedback.DROPPED,
        Feedback.OPENED,
        Feedback.MACHINE_OPENED,
        Feedback.CLICKED,
        Feedback.COMPLAINED,
        Feedback.UNSUBSCRIBED,
    )
    if bit.name
}
SMS_COUNTERS: Mapping[Feedback, str] = {
    bit: bit.name.lower()
    for bit in (
        Feedback.DELIVERED,
        Feedback.UNDELIVERED,
        Feedback.EXPIRED,
        Feedback.REJECTED,
        Feedback.REPLIED,
        Feedback.OPTED_OUT,
    )
    if bit.name
}


@dataclass(frozen=True)
class Counts:
    """`stats` and `sendmode_stats` of one execution as plain numbers; SMS numbers are empty for email."""

    messages: dict[str, int]
    sms: dict[str, int]


def insert_stats(session: Session, execution_id: int) -> None:
    """The rows that `move_stats` adds to; harmless when they are there."""
    session.execute(insert_ignore(Stats).values(execution_id=execution_id))
    session.execute(insert_ignore(SendmodeStats).values(execution_id=execution_id))


def move_stats(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    """Add to columns of `stats`. Called last in a transaction: every lane wants the same row."""
    _add(session, Stats, execution_id, deltas)


def move_sendmode_stats(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    _add(session, SendmodeStats, execution_id, deltas)


def get_counts(session: Session, execution_id: int) -> Counts:
    """Raises NotFound for an execution without a snapshot or of another id."""
    stats = session.get(Stats, execution_id)
    sms = session.get(SendmodeStats, execution_id)
    if stats is None or sms is None:
        raise NotFound("stats of execution", execution_id)
    return Counts(_numbers(stats), _numbers(sms))


def find_counts(session: Session, execution_id: int) -> Counts:
    """As `get_counts`, with zeros for an execution that has no snapshot yet."""
    if session.get(Stats, execution_id) is None:
        return Counts(dict.fromkeys(_columns(Stats), 0), dict.fromkeys(_columns(SendmodeStats), 0))
    return get_counts(session, execution_id)


def recount(session: Session, execution_id: int) -> Counts:
    """The same numbers counted from the ledger itself; slow by nature, for checking."""
    messages = dict.fromkeys(_columns(Stats), 0)
    sms = dict.fromkeys(_columns(SendmodeStats), 0)
    groups = session.execute(
        select(
            Message.channel,
            Message.state,
            Message.feedback,
            func.count(),
            func.coalesce(func.sum(Message.parts), 0),
        )
        .where(Message.execution_id == execution_id)
        .group_by(Message.channel, Message.state, Message.feedback)
    )
    for channel, state, feedback, count, parts in groups:
        messages["intended"] += count
        messages[state.value] += count
        is_sms = channel is Channel.SMS
        if is_sms and state is MessageState.ACCEPTED:
            sms["sent"] += count
            sms["parts"] += int(parts or 0)
        for bit, column in EMAIL_COUNTERS.items():
            messages[column] += count if bit in Feedback(feedback) else 0
        for bit, column in SMS_COUNTERS.items():
            sms[column] += count if is_sms and bit in Feedback(feedback) else 0
    being_sent = _count_being_sent(session, execution_id)
    messages[MessageState.PENDING.value] -= being_sent
    messages[MessageState.SENDING.value] += being_sent
    return Counts(messages, sms)


def _count_being_sent(session: Session, execution_id: int) -> int:
    """Open messages of batches that are `sending`; see `db/queries/transitions.py`."""
    return session.scalars(
        select(func.count())
        .select_from(Batch)
        .join(
            Message,
            (Message.execution_id == Batch.execution_id)
            & (Message.step_id == Batch.step_id)
            & Message.id.between(Batch.first_message_id, Batch.last_message_id),
        )
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.SENDING,
            Message.state == MessageState.PENDING,
        )
    ).one()


def _add(
    session: Session, model: type[Stats | SendmodeStats], execution_id: int, deltas: Mapping[str, int]
) -> None:
    changes = {name: getattr(model, name) + delta for name, delta in deltas.items() if delta}
    if changes:
        session.execute(update(model).where(model.execution_id == execution_id).values(changes))


def _columns(model: type[Stats | SendmodeStats]) -> list[str]:
    return [column.key for column in model.__table__.columns if column.key != "execution_id"]


def _numbers(row: Stats | SendmodeStats) -> dict[str, int]:
    return {name: getattr(row, name) for name in _columns(type(row))}
