"""When a schedule fires: a moment, a cron expression or an RRULE, on the wall clock of a time zone. Pure.

All three are walked on the wall clock and turned into instants at the end, so that "every day at nine" stays nine
over daylight-saving changes. A wall time that a change skips is read with the offset before the change, and one that
happens twice fires the first time only (both as in RFC 5545, 3.3.5).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from dateutil.rrule import rrule, rruleset, rrulestr

from db.errors import Invalid
from db.states import ScheduleKind

MIN_INTERVAL = timedelta(minutes=1)
_MOST_STEPS = 1000


@dataclass(frozen=True)
class Recurrence:
    """A schedule. `expression` is an ISO 8601 moment, a cron expression of five fields, or an RRULE.

    `starts_at` (aware) is where an RRULE without DTSTART begins.
    """

    kind: ScheduleKind
    expression: str
    time_zone: str
    starts_at: datetime | None = None


def parse_recurrence(
    kind: ScheduleKind, expression: str, time_zone: str, starts_at: datetime | None = None
) -> Recurrence:
    """Check and normalise a schedule.

    Raises:
        Invalid: names the field (`time_zone`, `expression`, `starts_at`) and what would be accepted.
    """
    if time_zone not in available_timezones():
        raise Invalid("time_zone", f"'{time_zone}' is unknown; use an IANA name such as Europe/Dublin")
    if kind is ScheduleKind.RRULE and starts_at is None and "DTSTART" not in expression.upper():
        raise Invalid("starts_at", "an RRULE needs starts_at (or a DTSTART line) to count from")
    recurrence = Recurrence(kind, expression.strip(), time_zone, starts_at)
    walls = _walls(recurrence, datetime.now(UTC).replace(tzinfo=None))
    try:
        first, second = next(walls, None), next(walls, None)
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid("expression", f"cannot be read as {kind}: {error}") from error
    if first and second and second - first < MIN_INTERVAL:
        raise Invalid("expression", "fires more than once a minute")
    return recurrence


def next_occurrence(recurrence: Recurrence, after: datetime) -> datetime | None:
    """The first instant (UTC) strictly after `after`, None when the schedule is over."""
    zone = ZoneInfo(recurrence.time_zone)
    # An hour back on the wall clock, for changes in between; instants that are not later are passed over.
    start = after.astimezone(zone).replace(tzinfo=None) - timedelta(hours=3)
    for step, wall in enumerate(_walls(recurrence, start)):
        instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if instant > after:
            return instant
        if step > _MOST_STEPS:
            return None
    return None


def as_rrule(recurrence: Recurrence) -> str:
    """A moment or an RRULE as text with DTSTART, for a scheduler that takes only those."""
    if recurrence.kind is ScheduleKind.ONCE:
        start = next(_walls(recurrence, datetime.min))
        return f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:FREQ=DAILY;COUNT=1"
    if "DTSTART" in recurrence.expression.upper():
        return recurrence.expression
    start = _wall_of(recurrence.starts_at or datetime.now(UTC), recurrence.time_zone)
    return f"DTSTART:{start:%Y%m%dT%H%M%S}\nRRULE:{recurrence.expression.removeprefix('RRULE:')}"


def _walls(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    """Wall-clock times of the schedule after (or near) a wall-clock time."""
    if recurrence.kind is ScheduleKind.ONCE:
        moment = _moment(recurrence)
        if moment > after:
            yield moment
        return
    if recurrence.kind is ScheduleKind.CRON:
        yield from _cron(recurrence.expression, after)
        return
    rule = _rule(recurrence)
    yield from rule.xafter(after, count=None, inc=False)


def _cron(expression: str, after: datetime) -> Iterator[datetime]:
    if len(expression.split()) != 5:
        raise ValueError("five fields are needed: minute hour day-of-month month day-of-week")
    try:
        yield from CronSim(expression, after)
    except CronSimError as error:
        raise ValueError(str(error) or "not a cron expression") from error


def _rule(recurrence: Recurrence) -> rrule | rruleset:
    start = recurrence.starts_at
    wall = _wall_of(start, recurrence.time_zone) if start else None
    rule: rrule | rruleset = rrulestr(recurrence.expression, dtstart=wall, ignoretz=True)
    return rule


def _moment(recurrence: Recurrence) -> datetime:
    try:
        moment = datetime.fromisoformat(recurrence.expression)
    except ValueError as error:
        raise ValueError("an ISO 8601 moment is needed, such as 2026-12-24T09:00") from error
    return moment if moment.tzinfo is None else _wall_of(moment, recurrence.time_zone)


def _wall_of(moment: datetime, time_zone: str) -> datetime:
    return moment.astimezone(ZoneInfo(time_zone)).replace(tzinfo=None)
