"""An execution over time: how much of what happened in each minute, hour or day."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.dialect import to_day, to_hour
from db.models import StatsMinute

MOST_KINDS = 32
"""More kinds than an execution can have in one minute (`tasks/providers/events.py: EventKind`)."""


class Interval(StrEnum):
    """What is counted together. Hours and days are those of UTC."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]


_LENGTHS = {
    Interval.MINUTE: timedelta(minutes=1),
    Interval.HOUR: timedelta(hours=1),
    Interval.DAY: timedelta(days=1),
}


@dataclass(frozen=True)
class Point:
    """The counts by kind from `at` until the next point begins; kinds that are 0 are left out."""

    at: datetime
    counts: dict[str, int] = field(default_factory=dict)


def list_series(
    session: Session,
    execution_id: int,
    *,
    by: Interval,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
    kinds: Collection[str] = (),
) -> list[Point]:
    """Up to `limit` points in order of time, of minutes from `since` on and before `until`; those without any count are left out."""
    at, count = _start(by), StatsMinute.count
    query = select(at, StatsMinute.kind, count if by is Interval.MINUTE else func.sum(count)).where(
        StatsMinute.execution_id == execution_id, count != 0
    )
    if by is not Interval.MINUTE:  # A minute is a row already, and the key has them in order.
        query = query.group_by(at, StatsMinute.kind)
    query = query.order_by(at, StatsMinute.kind).limit((limit + 1) * MOST_KINDS)
    if since is not None:
        query = query.where(StatsMinute.minute >= since)
    if until is not None:
        query = query.where(StatsMinute.minute < until)
    if kinds:
        query = query.where(StatsMinute.kind.in_(list(kinds)))
    points: dict[datetime, Point] = {}
    for moment, kind, number in session.execute(query):
        if moment not in points and len(points) == limit:
            break
        points.setdefault(moment, Point(moment)).counts[kind] = int(number)
    return list(points.values())


def _start(by: Interval) -> Any:
    if by is Interval.MINUTE:
        return StatsMinute.minute
    return (to_hour if by is Interval.HOUR else to_day)(StatsMinute.minute)
