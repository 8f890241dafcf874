"""What happens to a send whose moment has come or has passed."""

from datetime import UTC, datetime, timedelta

import pytest

from db.states import MissedPolicy
from tasks.scheduling.missed import Decision, decide

DUE = datetime(2027, 3, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize("policy", list(MissedPolicy))
@pytest.mark.parametrize("late", [timedelta(0), timedelta(seconds=299), timedelta(seconds=300)])
def test_within_the_grace_it_is_on_time_whatever_the_policy(policy: MissedPolicy, late: timedelta) -> None:
    assert decide(DUE, DUE + late, grace_seconds=300, policy=policy) is Decision.SEND


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (MissedPolicy.SEND, Decision.SEND),
        (MissedPolicy.SKIP, Decision.SKIP),
        (MissedPolicy.ASK, Decision.ASK),
    ],
)
def test_after_the_grace_the_policy_decides(policy: MissedPolicy, expected: Decision) -> None:
    late = DUE + timedelta(seconds=300, microseconds=1)
    assert decide(DUE, late, grace_seconds=300, policy=policy) is expected
