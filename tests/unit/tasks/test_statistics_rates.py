"""Rates: what is divided by what, without surprises of fractions; what SMS cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.models import SendmodeStats, Stats
from db.queries.stats import columns_of
from tasks.statistics.rates import EMAIL_RATES, SMS_RATES, Cost, Rate, cost_of, rates


def test_every_rate_is_made_of_counts_that_there_are() -> None:
    assert {name for pair in EMAIL_RATES.values() for name in pair} <= set(columns_of(Stats))
    assert {name for pair in SMS_RATES.values() for name in pair} <= set(columns_of(SendmodeStats))


def test_a_rate_names_what_it_is_out_of() -> None:
    counts = dict.fromkeys(columns_of(Stats), 0) | {"accepted": 1000, "delivered": 900, "opened": 300}
    found = rates(counts)
    assert found["delivery"] == Rate(900, "accepted", 1000)
    assert (found["open"].percent, found["open"].of) == (33.3333, "delivered")
    assert found["click_to_open"].percent == 0


def test_nothing_out_of_nothing_is_no_rate_and_over_no_limit() -> None:
    assert Rate(0, "accepted", 0).percent is None
    assert not Rate(0, "accepted", 0).is_over(0.1)


@pytest.mark.parametrize(("count", "base", "over"), [(3, 1000, False), (4, 1000, True), (1, 333, True)])
def test_a_limit_is_passed_only_by_more_than_it(count: int, base: int, over: bool) -> None:
    assert Rate(count, "accepted", base).is_over(0.3) is over


@given(st.integers(1, 10**7), st.integers(1, 1000))
def test_exactly_the_limit_is_never_over_it(thousands: int, tenths: int) -> None:
    """However the fraction is written in binary."""
    assert not Rate(thousands * tenths, "accepted", thousands * 1000).is_over(tenths / 10)
    assert Rate(thousands * tenths + 1, "accepted", thousands * 1000).is_over(tenths / 10)


def test_the_cost_is_the_price_of_all_parts_and_unknown_without_a_price() -> None:
    assert cost_of(3, 0.0475, "EUR") == Cost(3, 0.0475, 0.1425, "EUR")
    assert cost_of(3, 0.0, "EUR") is None
