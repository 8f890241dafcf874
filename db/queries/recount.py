"""The counts of an execution once more, from the ledger and the stored events themselves. Slow by nature, for checking."""

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.dialect import to_minute
from db.models import Batch, Event, Message, SendmodeStats, Stats
from db.queries.stats import (
    EVENT_BREAKDOWNS,
    EVENT_COUNTERS,
    Counts,
    columns_of,
    email_counters,
    reason_key,
    sms_counters,
)
from db.states import BatchState, Breakdown, Channel, MessageState


def recount(session: Session, execution_id: int) -> Counts:
    """As `get_counts`, counted from messages, batches and events."""
    messages = dict.fromkeys(columns_of(Stats), 0)
    sms = dict.fromkeys(columns_of(SendmodeStats), 0)
    _count_messages(session, execution_id, messages, sms)
    reasons = _count_exclusions(session, execution_id)
    _count_events(session, execution_id, messages, reasons)
    return Counts(messages, sms, _nested(reasons))


def recount_minutes(session: Session, execution_id: int) -> dict[tuple[datetime, str], int]:
    """As `list_minutes` without what was accepted, counted from the events."""
    minute = to_minute(Event.occurred_at)
    rows = session.execute(
        select(minute, Event.kind, func.count())
        .where(Event.execution_id == execution_id)
        .group_by(minute, Event.kind)
    )
    return {(at, kind): count for at, kind, count in rows}


def _count_messages(
    session: Session, execution_id: int, messages: dict[str, int], sms: dict[str, int]
) -> None:
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
    for channel, state, bits, count, parts in groups:
        messages["intended"] += count
        messages[state.value] += count
        for column in email_counters(bits):
            messages[column] += count
        if channel is Channel.SMS:
            for column in sms_counters(bits):
                sms[column] += count
            if state is MessageState.ACCEPTED:
                sms["sent"] += count
                sms["parts"] += int(parts or 0)
    being_sent = _count_being_sent(session, execution_id)
    messages[MessageState.PENDING.value] -= being_sent
    messages[MessageState.SENDING.value] += being_sent


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


def _count_exclusions(session: Session, execution_id: int) -> Counter[str]:
    rows = session.execute(
        select(Message.reason, func.count())
        .where(Message.execution_id == execution_id, Message.special_state == MessageState.EXCLUDED.value)
        .group_by(Message.reason)
    )
    return Counter({reason_key(Breakdown.EXCLUDED, reason or ""): count for reason, count in rows})


def _count_events(
    session: Session, execution_id: int, messages: dict[str, int], reasons: Counter[str]
) -> None:
    rows: Any = session.execute(
        select(Event.kind, Event.classification, func.count())
        .where(Event.execution_id == execution_id)
        .group_by(Event.kind, Event.classification)
    )
    for kind, classification, count in rows:
        if kind in EVENT_COUNTERS:
            messages[EVENT_COUNTERS[kind]] += count
        if kind in EVENT_BREAKDOWNS:
            reasons[reason_key(EVENT_BREAKDOWNS[kind], classification or "")] += count


def _nested(reasons: Counter[str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, count in sorted(reasons.items()):
        breakdown, _, reason = name.partition(".")
        found.setdefault(breakdown, {})[reason] = count
    return found
