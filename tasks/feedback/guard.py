"""When an execution does more harm than good: too many complaints, or too many bounces. Pure.

Mailbox providers (Google, Yahoo: "Email sender guidelines") ask for complaints below 0.1 % and never at 0.3 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.statistics.rates import Rate, rate


@dataclass(frozen=True)
class Limits:
    """In percent of what was accepted, judged from `messages` accepted ones on."""

    messages: int
    complaint_warn: float
    complaint_pause: float
    bounce_pause: float


@dataclass(frozen=True)
class Verdict:
    """`warning` says what is wrong, None when nothing is; `is_pause` when it is so much that nothing more should be sent."""

    warning: str | None = None
    is_pause: bool = False


def judge(counts: Mapping[str, int], limits: Limits) -> Verdict:
    """`counts` are columns of `stats`. Rates are those that people are shown: bounces are hard and soft ones together."""
    if counts["accepted"] < limits.messages:
        return Verdict()
    complaints, bounces = rate("complaint", counts), rate("bounce", counts)
    too_many = [
        _words(what, each, limit)
        for what, each, limit in (
            ("complaint", complaints, limits.complaint_pause),
            ("bounce", bounces, limits.bounce_pause),
        )
        if each.is_over(limit)
    ]
    if too_many:
        return Verdict("; ".join(too_many), is_pause=True)
    if complaints.is_over(limits.complaint_warn):
        return Verdict(_words("complaint", complaints, limits.complaint_warn))
    return Verdict()


def _words(what: str, found: Rate, limit: float) -> str:
    return (
        f"the {what} rate is {100 * found.count / found.base:.3g} % ({found.count:,} of {found.base:,} accepted), "
        f"over the limit of {limit:g} %"
    )
