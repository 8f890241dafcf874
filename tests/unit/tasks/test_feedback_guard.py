"""The guard's verdict: from enough messages on, over a limit and not at it, the worst of what is wrong."""

import pytest

from db.models import Stats
from db.queries.stats import columns_of
from tasks.feedback.guard import Limits, Verdict, judge

LIMITS = Limits(messages=500, complaint_warn=0.1, complaint_pause=0.3, bounce_pause=5)


def counts(**some: int) -> dict[str, int]:
    return dict.fromkeys(columns_of(Stats), 0) | some


@pytest.mark.parametrize(
    "harmless",
    [
        counts(),
        counts(accepted=499, complained=400, bounced_by_any=400),
        counts(accepted=1000, complained=1, bounced_by_any=50),
    ],
)
def test_few_messages_and_rates_at_the_limit_say_nothing(harmless: dict[str, int]) -> None:
    assert judge(harmless, LIMITS) == Verdict()


def test_complaints_over_the_lower_limit_are_a_warning() -> None:
    verdict = judge(counts(accepted=1000, complained=3), LIMITS)
    assert verdict == Verdict(
        "the complaint rate is 0.3 % (3 of 1,000 accepted), over the limit of 0.1 %", is_pause=False
    )


def test_complaints_over_the_upper_limit_pause() -> None:
    verdict = judge(counts(accepted=1000, complained=4), LIMITS)
    assert verdict == Verdict(
        "the complaint rate is 0.4 % (4 of 1,000 accepted), over the limit of 0.3 %", is_pause=True
    )


def test_bounces_of_both_kinds_pause_and_all_reasons_are_said() -> None:
    verdict = judge(counts(accepted=500, bounced_by_any=26, complained=2), LIMITS)
    assert verdict.is_pause
    assert verdict.warning is not None
    assert "the complaint rate is 0.4 %" in verdict.warning
    assert "the bounce rate is 5.2 % (26 of 500 accepted), over the limit of 5 %" in verdict.warning
