"""Which days an operator means: absolute or relative, all become a range of days. Days begin in the rule's time zone."""

from calendar import isleap
from datetime import UTC, date, datetime, time, timedelta
from typing import TypeAlias
from zoneinfo import ZoneInfo

from db.segments.rules import Value
from db.segments.words import Operator

Days: TypeAlias = tuple[date, date]
"""From and to, both in it. Nothing is in it when from is after to."""

EVER_FROM, EVER_TO = date.min, date.max
NEVER: Days = (date.max, date.min)
MonthDays: TypeAlias = tuple[tuple[str, str], ...]
"""Ranges of days of the year, written MM-DD, both ends in them."""

_ONE = timedelta(days=1)
_WHOLE_YEAR = (("01-01", "12-31"),)


def today_in(time_zone: str, now: datetime) -> date:
    """The day that it is there at the moment `now`."""
    return now.astimezone(ZoneInfo(time_zone)).date()


def days_of(operator: Operator, value: Value, today: date) -> Days:
    """The days that the operator and its value mean, seen from `today`. Not for anniversaries."""
    match operator, value:
        case Operator.BETWEEN, (date() as low, date() as high):
            return low, high
        case _, date() as day:
            return _around(operator, day)
        case _, int() as count:
            return _relative(operator, timedelta(days=count), today)
    raise AssertionError(f"{operator} is no operator of days")


def _around(operator: Operator, day: date) -> Days:
    match operator:
        case Operator.ON:
            return day, day
        case Operator.BEFORE:
            return EVER_FROM, day - _ONE
        case Operator.UNTIL:
            return EVER_FROM, day
        case Operator.SINCE:
            return day, EVER_TO
        case _:
            return (day + _ONE, EVER_TO) if day < EVER_TO else NEVER


def _relative(operator: Operator, distance: timedelta, today: date) -> Days:
    match operator:
        case Operator.IN_LAST_DAYS:
            return today - distance, today
        case Operator.IN_NEXT_DAYS:
            return today, today + distance
        case Operator.MORE_THAN_DAYS_AGO:
            return EVER_FROM, today - distance - _ONE
        case _:
            return today + distance + _ONE, EVER_TO


def anniversaries_of(operator: Operator, value: Value, today: date) -> MonthDays:
    """The days of the year on which a date must lie, so that its anniversary is today or within the next `value` days.

    The anniversary of 29 February is on 28 February in a year without one.
    """
    count = value if operator is Operator.ANNIVERSARY_IN_NEXT_DAYS and isinstance(value, int) else 0
    if count >= 365:
        return _WHOLE_YEAR
    last = today + timedelta(days=count)
    low, high = f"{today:%m-%d}", f"{last:%m-%d}"
    if high == "02-28" and not isleap(last.year):
        high = "02-29"
    if last.year == today.year:
        return ((low, high),)
    return (low, "12-31"), ("01-01", high)


def moments_of(days: Days, time_zone: str) -> tuple[datetime | None, datetime | None]:
    """The days as moments in UTC: from the first, up to but without the second; None is open."""
    first, last = days
    start = None if first.year <= 1000 else _begin_of(first, time_zone)
    end = None if last >= date(9999, 12, 30) else _begin_of(last + _ONE, time_zone)
    return start, end


def _begin_of(day: date, time_zone: str) -> datetime:
    """The moment at which the day begins there. A midnight that a clock change skips is when the clock has moved on."""
    return datetime.combine(day, time.min, ZoneInfo(time_zone)).astimezone(UTC)
