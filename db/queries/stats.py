"""Counts of an execution: moved with the ledger, read by one look, whatever the size of the execution.

What they are counted from, and that they agree with it, is in `db/queries/recount.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.dialect import add_up, insert_ignore
from db.errors import NotFound
from db.models import SendmodeStats, Stats, StatsMinute, StatsReason
from db.states import Breakdown, Feedback, MessageState

# A bit of feedback and the column that counts the messages having it.
_EMAIL_BITS: Mapping[Feedback, str] = {
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
        Feedback.MACHINE_CLICKED,
        Feedback.COMPLAINED,
        Feedback.UNSUBSCRIBED,
    )
    if bit.name
}
# Columns that count the messages having any of these bits.
_ANY_BITS: Mapping[str, Feedback] = {
    "opened_by_any": Feedback.OPENED | Feedback.MACHINE_OPENED,
    "clicked_by_any": Feedback.CLICKED | Feedback.MACHINE_CLICKED,
    "bounced_by_any": Feedback.BOUNCED | Feedback.BLOCKED,
}
_SMS_BITS: Mapping[Feedback, str] = {
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
EVENT_COUNTERS: Mapping[str, str] = {
    "open": "opens",
    "machine_open": "machine_opens",
    "click": "clicks",
    "machine_click": "machine_clicks",
}
"""Kinds of events and the columns of `stats` that count the events themselves."""
EVENT_BREAKDOWNS: Mapping[str, Breakdown] = {
    "bounce": Breakdown.BOUNCED,
    "blocked": Breakdown.BLOCKED,
    "dropped": Breakdown.DROPPED,
}
"""Kinds of events whose `classification` is a reason to count."""
ACCEPTED_MINUTE = MessageState.ACCEPTED.value
"""The kind in `stats_minutes` of what providers took: we know that ourselves."""


@dataclass(frozen=True)
class Counts:
    """`stats` and `sendmode_stats` of one execution as plain numbers; SMS numbers are empty for email.

    `reasons` are by `Breakdown`: exclusions, bounces and blocks by class, drops by reason.
    """

    messages: dict[str, int]
    sms: dict[str, int]
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def exclusions(self) -> dict[str, int]:
        """Excluded messages by reason."""
        return self.reasons.get(Breakdown.EXCLUDED.value, {})


@lru_cache(maxsize=4096)
def email_counters(bits: int) -> frozenset[str]:
    """The columns of `stats` in which a message with these bits of feedback counts."""
    feedback = Feedback(bits)
    own = {column for bit, column in _EMAIL_BITS.items() if bit in feedback}
    return frozenset(own | {column for column, bits in _ANY_BITS.items() if bits & feedback})


@lru_cache(maxsize=4096)
def sms_counters(bits: int) -> frozenset[str]:
    """The columns of `sendmode_stats` in which an SMS with these bits of feedback counts."""
    feedback = Feedback(bits)
    return frozenset(column for bit, column in _SMS_BITS.items() if bit in feedback)


def reason_key(breakdown: Breakdown, reason: str) -> str:
    """What `move_stats` calls the count of a reason, such as `excluded.no_consent`."""
    return f"{breakdown.value}.{reason}"


def insert_stats(session: Session, execution_id: int) -> None:
    """The rows that `move_stats` adds to; harmless when they are there."""
    session.execute(insert_ignore(Stats).values(execution_id=execution_id))
    session.execute(insert_ignore(SendmodeStats).values(execution_id=execution_id))


def move_stats(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    """Add to columns of `stats`, and to reasons where the name is a `reason_key`.

    Called last in a transaction: every lane wants the same row. What becomes accepted is put down to this minute.
    """
    correct_stats(session, execution_id, deltas)
    if accepted := deltas.get(MessageState.ACCEPTED.value):
        move_minutes(session, execution_id, {(minute_of(datetime.now(UTC)), ACCEPTED_MINUTE): accepted})


def correct_stats(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    """As `move_stats`, of what did not happen now: no minute has it."""
    columns = {name: delta for name, delta in deltas.items() if delta and "." not in name}
    _add(session, Stats, execution_id, columns)
    _add_reasons(session, execution_id, {name: delta for name, delta in deltas.items() if "." in name})


def move_sendmode_stats(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    _add(session, SendmodeStats, execution_id, deltas)


def move_minutes(session: Session, execution_id: int, deltas: Mapping[tuple[datetime, str], int]) -> None:
    """Add to the counts by (minute, kind of event). The caller has moved `stats` before: it is behind that row's lock."""
    rows = [
        {"execution_id": execution_id, "minute": minute, "kind": kind, "count": delta}
        for (minute, kind), delta in sorted(deltas.items())
        if delta
    ]
    if rows:
        session.execute(add_up(session, StatsMinute, rows, "count"))


def minute_of(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0)


def get_counts(session: Session, execution_id: int) -> Counts:
    """Raises NotFound for an execution without a snapshot or of another id."""
    stats = session.get(Stats, execution_id)
    sms = session.get(SendmodeStats, execution_id)
    if stats is None or sms is None:
        raise NotFound("stats of execution", execution_id)
    return Counts(numbers_of(stats), numbers_of(sms), list_reasons(session, execution_id))


def find_counts(session: Session, execution_id: int) -> Counts:
    """As `get_counts`, with zeros for an execution that has no snapshot yet."""
    if session.get(Stats, execution_id) is None:
        return Counts(dict.fromkeys(columns_of(Stats), 0), dict.fromkeys(columns_of(SendmodeStats), 0))
    return get_counts(session, execution_id)


def list_reasons(session: Session, execution_id: int) -> dict[str, dict[str, int]]:
    """Counts by breakdown and reason; those that are 0 are left out."""
    rows = session.execute(
        select(StatsReason.breakdown, StatsReason.reason, StatsReason.count)
        .where(StatsReason.execution_id == execution_id, StatsReason.count != 0)
        .order_by(StatsReason.breakdown, StatsReason.reason)
    )
    found: dict[str, dict[str, int]] = {}
    for breakdown, reason, count in rows:
        found.setdefault(breakdown.value, {})[reason] = count
    return found


def list_minutes(session: Session, execution_id: int) -> dict[tuple[datetime, str], int]:
    """Counts by (minute, kind), in order of time."""
    rows = session.execute(
        select(StatsMinute.minute, StatsMinute.kind, StatsMinute.count)
        .where(StatsMinute.execution_id == execution_id, StatsMinute.count != 0)
        .order_by(StatsMinute.minute, StatsMinute.kind)
    )
    return {(minute, kind): count for minute, kind, count in rows}


def columns_of(model: type[Stats | SendmodeStats]) -> list[str]:
    return [column.key for column in model.__table__.columns if column.key != "execution_id"]


def numbers_of(row: Stats | SendmodeStats) -> dict[str, int]:
    return {name: getattr(row, name) for name in columns_of(type(row))}


def _add(
    session: Session, model: type[Stats | SendmodeStats], execution_id: int, deltas: Mapping[str, int]
) -> None:
    changes = {name: getattr(model, name) + delta for name, delta in deltas.items() if delta}
    if changes:
        session.execute(update(model).where(model.execution_id == execution_id).values(changes))


def _add_reasons(session: Session, execution_id: int, deltas: Mapping[str, int]) -> None:
    rows = [
        {
            "execution_id": execution_id,
            "breakdown": Breakdown(name.partition(".")[0]),
            "reason": name.partition(".")[2],
            "count": delta,
        }
        for name, delta in sorted(deltas.items())
        if delta
    ]
    if rows:
        session.execute(add_up(session, StatsReason, rows, "count"))
