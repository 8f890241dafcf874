"""Webhooks while the API and the database are killed: a small run of `make faults-webhooks`, and the proof that it can fail."""

import pytest

from deployments.test_database import throwaway_server
from tests.conftest import SERVER_URL
from tests.faults import webhook_api
from tests.faults.webhooks import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not SERVER_URL,
        reason="NOT TESTED: starts a server of its own, run `make test`, or set ICS_TEST_DATABASE_URL",
    ),
    pytest.mark.xdist_group("faults"),
]


def test_nothing_acknowledged_is_lost_or_counted_twice() -> None:
    with throwaway_server() as server:
        report = run(server, events=8_000, kills=4, seed=20, again=1)
    assert report.violations == []
    assert report.kills == {"api": 2, "database": 2}
    assert report.refused > 0


def test_an_inbox_that_acknowledges_first_is_found_out() -> None:
    with throwaway_server() as server:
        report = run(server, events=8_000, kills=5, seed=20, sabotage=webhook_api.ACKNOWLEDGE_FIRST, again=0)
    assert any("are lost" in each for each in report.violations)
