"""Curves of an execution: nothing is lost between the steps, whatever they are."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.plots.curves import CURVES, MOST_STEPS, curves_of

START = datetime(2026, 11, 23, 9, 7, tzinfo=UTC)
MINUTES = st.dictionaries(
    st.tuples(
        st.integers(0, 60 * 24 * 3000).map(lambda each: START + timedelta(minutes=each)),
        st.sampled_from([*CURVES, "bounce"]),
    ),
    st.integers(1, 1000),
    max_size=40,
)


@given(MINUTES)
def test_every_count_is_in_one_step(minutes: dict[tuple[datetime, str], int]) -> None:
    curves = curves_of(minutes)
    for kind, name in CURVES.items():
        assert sum(curves.counts[name]) == sum(count for key, count in minutes.items() if key[1] == kind)
        assert len(curves.counts[name]) == len(curves.moments) <= MOST_STEPS
        assert (curves.totals(name)[0], curves.totals(name)[-1]) == (0, sum(curves.counts[name]))
        if curves.moments:
            assert len(curves.totals(name)) == len(curves.edges)


def test_an_execution_without_events_has_no_curves() -> None:
    assert curves_of({}).is_empty
    assert curves_of({(START, "bounce"): 3}).is_empty


@pytest.mark.parametrize(
    ("length", "step"), [(3, 1), (238, 1), (60 * 12, 5), (60 * 24 * 10, 120), (60 * 24 * 300, 2880)]
)
def test_a_longer_time_has_wider_steps(length: int, step: int) -> None:
    minutes = {(START, "accepted"): 1, (START + timedelta(minutes=length), "open"): 1}
    assert curves_of(minutes).step == timedelta(minutes=step)


def test_steps_begin_at_whole_times() -> None:
    curves = curves_of({(START, "accepted"): 5, (START + timedelta(hours=30), "click"): 1})
    assert (curves.step, curves.moments[0]) == (
        timedelta(minutes=10),
        datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    )
    assert curves.counts["sent"][0] == 5
