"""Our schedules in Prefect's words, checked by what Prefect itself makes of them."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule, RRuleSchedule

from tasks.orchestration.prefect_schedules import schedule_of

DUBLIN = ZoneInfo("Europe/Dublin")


@dataclass(frozen=True)
class Row:
    kind: str
    expression: str
    time_zone: str = "Europe/Dublin"
    starts_at: datetime | None = None
    active: bool = True


def dates(schedule: dict[str, Any] | None, start: datetime, count: int) -> list[datetime]:
    """What Prefect's scheduler would plan."""
    assert schedule is not None
    kind = CronSchedule if "cron" in schedule else RRuleSchedule
    found = asyncio.run(kind(**schedule).get_dates(n=count, start=start, end=start + timedelta(days=800)))
    return [moment.astimezone(UTC) for moment in found]


def dublin(*parts: int, fold: int = 0) -> datetime:
    year, month, day, hour, minute = parts
    return datetime(year, month, day, hour, minute, tzinfo=DUBLIN, fold=fold).astimezone(UTC)


@pytest.mark.parametrize("expression", ["2027-07-01T09:00:00", "2027-07-01T08:00:00+00:00"])
def test_once_is_one_moment_whether_written_in_local_time_or_with_an_offset(expression: str) -> None:
    schedule = schedule_of(Row("once", expression))
    assert dates(schedule, datetime(2027, 1, 1, tzinfo=UTC), 5) == [dublin(2027, 7, 1, 9, 0)]


def test_once_in_the_past_never_comes_again() -> None:
    schedule = schedule_of(Row("once", "2027-07-01T09:00:00"))
    assert dates(schedule, datetime(2027, 7, 2, tzinfo=UTC), 5) == []


def test_once_in_the_hour_that_comes_twice_can_be_the_second_one() -> None:
    second = dublin(2027, 10, 31, 1, 30, fold=1)
    schedule = schedule_of(Row("once", second.isoformat()))
    assert dates(schedule, datetime(2027, 10, 1, tzinfo=UTC), 5) == [second]


def test_cron_keeps_its_local_hour_across_the_change_of_the_clocks() -> None:
    schedule = schedule_of(Row("cron", "0 9 * * *"))
    assert dates(schedule, dublin(2027, 3, 27, 0, 0), 3) == [
        datetime(2027, 3, 27, 9, tzinfo=UTC),
        datetime(2027, 3, 28, 8, tzinfo=UTC),
        datetime(2027, 3, 29, 8, tzinfo=UTC),
    ]


@pytest.mark.parametrize("prefix", ["", "RRULE:"])
def test_rrule_starts_at_its_first_moment_and_keeps_its_local_hour(prefix: str) -> None:
    row = Row(
        "rrule", f"{prefix}FREQ=WEEKLY;INTERVAL=2;COUNT=3", starts_at=datetime(2027, 3, 15, 9, tzinfo=UTC)
    )
    assert dates(schedule_of(row), datetime(2027, 1, 1, tzinfo=UTC), 9) == [
        dublin(2027, 3, 15, 9, 0),
        dublin(2027, 3, 29, 9, 0),
        dublin(2027, 4, 12, 9, 0),
    ]


def test_until_in_utc_is_the_same_moment_for_prefect() -> None:
    """21 June 09:00 in Dublin is 08:00 UTC: the occurrence at the limit counts, the next does not."""
    row = Row("rrule", "FREQ=DAILY;UNTIL=20270621T080000Z", starts_at=datetime(2027, 6, 20, 8, tzinfo=UTC))
    assert dates(schedule_of(row), datetime(2027, 6, 1, tzinfo=UTC), 9) == [
        dublin(2027, 6, 20, 9, 0),
        dublin(2027, 6, 21, 9, 0),
    ]


def test_a_start_within_the_rule_wins() -> None:
    row = Row(
        "rrule",
        "DTSTART:20270620T080000Z\nRRULE:FREQ=DAILY;COUNT=1",
        starts_at=datetime(2020, 1, 1, tzinfo=UTC),
    )
    assert dates(schedule_of(row), datetime(2027, 6, 1, tzinfo=UTC), 9) == [dublin(2027, 6, 20, 9, 0)]


@pytest.mark.parametrize("row", [None, Row("cron", "0 9 * * *", active=False)])
def test_no_schedule_and_an_inactive_one_start_nothing(row: Row | None) -> None:
    assert schedule_of(row) is None


@pytest.mark.parametrize("row", [Row("once", "tomorrow"), Row("weekly", "x")])
def test_what_is_no_schedule_is_an_error(row: Row) -> None:
    with pytest.raises(ValueError, match=r"Invalid isoformat|not a kind of schedule"):
        schedule_of(row)
