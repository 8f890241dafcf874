"""Which days an operator means, against counting them one by one."""

from calendar import isleap
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.segments.days import anniversaries_of, days_of, moments_of, today_in
from db.segments.words import Operator

DATES = st.dates(date(1900, 1, 1), date(2100, 12, 31))
# Every few days of interest: the end of February, and the turn of the year.
EDGES = [date(year, month, day) for year in (2023, 2024, 2027, 2028)
         for month, day in ((1, 1), (2, 27), (2, 28), (3, 1), (12, 31), (12, 28))] + [date(2024, 2, 29)]  # fmt: skip


def kept_on(day: date, year: int) -> date:
    if (day.month, day.day) == (2, 29) and not isleap(year):
        return date(year, 2, 28)
    return day.replace(year=year)


def check_anniversary(today: date, day: date, count: int) -> None:
    ranges = anniversaries_of(Operator.ANNIVERSARY_IN_NEXT_DAYS, count, today)
    found = any(low <= f"{day:%m-%d}" <= high for low, high in ranges)
    last = today + timedelta(days=count)
    years = range(today.year, last.year + 1)
    assert found == any(today <= kept_on(day, year) <= last for year in years), (today, day, count)


@given(DATES, DATES, st.integers(0, 400))
def test_an_anniversary_is_in_the_days_in_which_it_is_kept(today: date, day: date, count: int) -> None:
    check_anniversary(today, day, count)


def test_it_is_so_at_the_end_of_february_and_of_the_year() -> None:
    for today, day, count in product(EDGES, EDGES, [0, 1, 2, 3, 4, 363, 364, 365, 366]):
        check_anniversary(today, day, count)


@pytest.mark.parametrize("today", EDGES)
def test_an_anniversary_today_is_one_within_no_days(today: date) -> None:
    none = anniversaries_of(Operator.ANNIVERSARY_IN_NEXT_DAYS, 0, today)
    assert anniversaries_of(Operator.ANNIVERSARY_TODAY, None, today) == none


@given(DATES, DATES, st.integers(0, 36_500))
def test_days_of_the_past_are_recent_or_long_ago(today: date, day: date, count: int) -> None:
    def is_in(operator: Operator) -> bool:
        low, high = days_of(operator, count, today)
        return low <= day <= high

    recent, long_ago = is_in(Operator.IN_LAST_DAYS), is_in(Operator.MORE_THAN_DAYS_AGO)
    soon, far_off = is_in(Operator.IN_NEXT_DAYS), is_in(Operator.MORE_THAN_DAYS_AHEAD)
    assert recent + long_ago == (day <= today)
    assert soon + far_off == (day >= today)


@given(DATES, DATES)
def test_a_day_is_before_on_or_after_another(day: date, other: date) -> None:
    def is_in(operator: Operator) -> bool:
        low, high = days_of(operator, other, other)
        return low <= day <= high

    assert is_in(Operator.BEFORE) + is_in(Operator.ON) + is_in(Operator.AFTER) == 1
    assert is_in(Operator.SINCE) != is_in(Operator.BEFORE)
    assert is_in(Operator.UNTIL) != is_in(Operator.AFTER)


def test_nothing_is_after_the_last_day_there_is() -> None:
    low, high = days_of(Operator.AFTER, date(9999, 12, 31), date(2026, 1, 1))
    assert low > high


@given(
    st.integers(-600_000_000, 3_000_000_000),
    st.sampled_from(["UTC", "Europe/Dublin", "Pacific/Auckland", "America/Sao_Paulo", "Africa/Cairo"]),
)
def test_a_moment_lies_in_the_day_that_it_is_there(seconds: int, zone: str) -> None:
    """Also where a change of the clock skips midnight, as in São Paulo and Cairo."""
    moment = datetime.fromtimestamp(seconds, UTC)
    day = today_in(zone, moment)
    assert day == moment.astimezone(ZoneInfo(zone)).date()
    start, end = moments_of((day, day), zone)
    assert start is not None
    assert end is not None
    assert start <= moment < end
