"""When a schedule fires: a moment, a cron expression or an RRULE, on the wall clock of a time zone. Pure.

Cron and RRULE are walked on the wall clock and turned into instants at the end, so that "every day at nine" stays nine
over daylight-saving changes. A wall time that a change skips fires at the change, the first instant after it, and one
that happens twice fires the first time only: each wall time has one instant, and later ones never have earlier
instants.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError
from dateutil.rrule import rrule, rrulestr

from db.errors import Invalid
from db.states import ScheduleKind

MIN_INTERVAL = timedelta(minutes=1)
_EARLIEST = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall time
_MOST_TIMES_A_DAY = 48
_CHECKED = 100
_SECOND = timedelta(seconds=1)

_DATE_TIME = r"\d{8}T\d{6}"
_RRULE = re.compile(
    rf"(?:DTSTART(?:;TZID=(?P<zone>[^:\s]+))?:(?P<start>{_DATE_TIME})(?P<utc>Z?)\s+)?(?:RRULE:)?(?P<parts>[A-Z]+=\S+)"
)
_ANYWHERE = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYHOUR", "BYMINUTE", "WKST"}
_IN_LONG_PERIODS = {"BYMONTH", "BYMONTHDAY", "BYSETPOS"}


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
    """Check and normalise a schedule; one that is over already is fine (see `next_occurrence`).

    An RRULE is one rule (RFC 5545, 3.3.10) of FREQ=DAILY or longer, with DTSTART in the zone's time or `starts_at`;
    what happens several times a day is written BYHOUR=9,17 or as cron.

    Raises:
        Invalid: names the field (`time_zone`, `expression`, `starts_at`) and what would be accepted.
    """
    if time_zone not in available_timezones():
        raise Invalid("time_zone", f"'{time_zone}' is unknown; use an IANA name such as Europe/Dublin")
    if starts_at is not None and starts_at.tzinfo is None:
        raise Invalid("starts_at", "needs a UTC offset, such as 2026-12-24T09:00+01:00")
    try:
        return _parse(kind, expression.strip(), time_zone, starts_at)
    except (ValueError, TypeError, OverflowError) as error:
        raise Invalid("expression", f"cannot be read as {kind}: {error}") from error


def next_occurrence(recurrence: Recurrence, after: datetime) -> datetime | None:
    """The first instant (UTC) strictly after `after` (aware), None when the schedule is over."""
    zone = ZoneInfo(recurrence.time_zone)
    if recurrence.kind is ScheduleKind.ONCE:
        moment = _moment(recurrence.expression, zone)
        return moment if moment > after else None
    try:
        # No earlier wall time can be a later instant, so the walk begins at the clock's own time.
        instants = (_instant(wall, zone) for wall in _walls(recurrence, _wall_of(after, zone)))
        return next((instant for instant in instants if instant > after), None)
    except OverflowError:
        return None


def _parse(kind: ScheduleKind, expression: str, time_zone: str, starts_at: datetime | None) -> Recurrence:
    zone = ZoneInfo(time_zone)
    match kind:
        case ScheduleKind.ONCE:
            return Recurrence(
                kind, _moment(expression, zone).astimezone(zone).isoformat(), time_zone, starts_at
            )
        case ScheduleKind.CRON:
            cron = Recurrence(kind, " ".join(expression.split()), time_zone, starts_at)
            next(_walls(cron, _EARLIEST), None)
            return cron
        case ScheduleKind.RRULE:
            rule = Recurrence(kind, _normal_rule(expression, zone), time_zone, starts_at)
            _check_start(rule)
            _check_interval(rule)
            return rule


def _moment(expression: str, zone: ZoneInfo) -> datetime:
    """The instant (UTC) of an ISO 8601 moment, which is on the zone's clock unless it has an offset."""
    try:
        moment = datetime.fromisoformat(expression)
    except ValueError as error:
        raise ValueError("an ISO 8601 moment is needed, such as 2026-12-24T09:00") from error
    return _instant(moment, zone) if moment.tzinfo is None else moment.astimezone(UTC)


# RRULE


def _normal_rule(expression: str, zone: ZoneInfo) -> str:
    """The rule with its times on the zone's clock, as schedulers read them: `DTSTART:...` (if given), `RRULE:...`."""
    match = _RRULE.fullmatch(expression.upper() if ";TZID=" not in expression else expression)
    if match is None:
        raise ValueError("one rule is needed, such as FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=9;BYMINUTE=0")
    if match["zone"] is not None and match["zone"] != zone.key:
        raise ValueError(f"DTSTART is in {match['zone']}, but the schedule is in {zone.key}")
    parts = _parts(match["parts"])
    _check_parts(parts)
    if "UNTIL" in parts:
        parts["UNTIL"] = _local(parts["UNTIL"], zone)
    rule = "RRULE:" + ";".join(f"{name}={value}" for name, value in parts.items())
    return f"DTSTART:{_local(match['start'] + match['utc'], zone)}\n{rule}" if match["start"] else rule


def _parts(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.strip(";").split(";")]
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names) or not all(value for _, _, value in pairs):
        raise ValueError("a rule is NAME=VALUE;NAME=VALUE, and no name comes twice")
    return {name: value for name, _, value in pairs}


def _check_parts(parts: dict[str, str]) -> None:
    """Only rules that are sure to be found quickly: others can keep a calendar searching to the year 9999."""
    frequency = parts.get("FREQ")
    if frequency not in ("DAILY", "WEEKLY", "MONTHLY", "YEARLY"):
        raise ValueError("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY; for shorter intervals use cron")
    allowed = _ANYWHERE | (_IN_LONG_PERIODS if frequency in ("MONTHLY", "YEARLY") else set())
    unknown = parts.keys() - allowed
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} cannot be used with FREQ={frequency}")
    for name in ("INTERVAL", "COUNT"):
        if name in parts and not re.fullmatch(r"[1-9]\d{0,3}", parts[name]):
            raise ValueError(f"{name} must be a number from 1 to 9999")
    times = (parts.get("BYHOUR", "0").count(",") + 1) * (parts.get("BYMINUTE", "0").count(",") + 1)
    if times > _MOST_TIMES_A_DAY:
        raise ValueError(f"more than {_MOST_TIMES_A_DAY} times a day; use cron")


def _local(moment: str, zone: ZoneInfo) -> str:
    """A date or date-time of RFC 5545 as date-time of the zone's clock; a UTC one (Z) is converted."""
    if re.fullmatch(r"\d{8}", moment):
        moment += "T235959"
    if not moment.endswith("Z"):
        return f"{datetime.strptime(moment, '%Y%m%dT%H%M%S'):%Y%m%dT%H%M%S}"  # noqa: DTZ007 - a wall time
    instant = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return f"{_wall_of(instant, zone):%Y%m%dT%H%M%S}"


def _check_start(recurrence: Recurrence) -> None:
    start = _start(recurrence)
    if start is None:
        raise Invalid("starts_at", "an RRULE needs starts_at (or a DTSTART line) to count from")
    if start < _EARLIEST:
        raise Invalid("starts_at", "must be in the year 2000 or later")


def _check_interval(recurrence: Recurrence) -> None:
    walls = islice(_rule(recurrence), _CHECKED)
    if any(later - earlier < MIN_INTERVAL for earlier, later in pairwise(walls)):
        raise ValueError("it fires more than once a minute")


def _rule(recurrence: Recurrence) -> rrule:
    rule = rrulestr(recurrence.expression, dtstart=_start(recurrence), cache=False)
    if not isinstance(rule, rrule):
        raise ValueError("one rule is needed")
    return rule


def _start(recurrence: Recurrence) -> datetime | None:
    """DTSTART on the wall clock. Seconds are kept: they are part of every occurrence."""
    match = re.match(rf"DTSTART:({_DATE_TIME})\s", recurrence.expression)
    if match:
        return datetime.strptime(match[1], "%Y%m%dT%H%M%S")  # noqa: DTZ007 - a wall time
    if recurrence.starts_at is None:
        return None
    return _wall_of(recurrence.starts_at, ZoneInfo(recurrence.time_zone)).replace(microsecond=0)


# Wall times and instants


def _walls(recurrence: Recurrence, after: datetime) -> Iterator[datetime]:
    """Wall times of a cron expression or a rule, in order, strictly after `after`."""
    if recurrence.kind is ScheduleKind.RRULE:
        rule = _rule(recurrence)
        yield from rule.xafter(after, count=None, inc=False)
        return
    if len(recurrence.expression.split()) != 5:
        raise ValueError("five fields are needed: minute hour day-of-month month day-of-week")
    try:
        yield from CronSim(recurrence.expression, after)
    except CronSimError as error:
        raise ValueError(str(error) or "it is no cron expression") from error


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which the zone's clock shows `wall` first, or skips it."""
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall_of(instant, zone) == wall:
        return instant
    # In a gap, fold=0 takes the offset before the change and lands after it, fold=1 the other way round (PEP 495).
    return _change_between(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, zone)


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first instant, to the second, that has the offset of `after` and not that of `before`."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)


def _wall_of(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)
