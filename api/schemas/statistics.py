"""Counts of executions in groups, their rates, and what they are told apart by."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from pydantic import Field

from api.schemas.base import Output
from api.schemas.contacts import Link
from db.queries.comparison import Compared
from db.queries.stats import Counts
from db.states import Breakdown, ExecutionState
from tasks.statistics.rates import EMAIL_RATES, SMS_RATES, Cost, Rate, cost_of, rates


class RateOut(Output):
    """`count` out of `base`, which is the count named `of`. `percent` is null when `base` is 0."""

    percent: float | None
    count: int
    of: str
    base: int


class EngagementOut(Output):
    """Opens or clicks. `unique` are messages, `unique_human` and `unique_machine` those that a person or a machine opened or
    clicked (a message may be both); `total`, `human` and `machine` count every single time."""

    unique: int
    unique_human: int
    unique_machine: int
    total: int
    human: int
    machine: int


class BouncesOut(Output):
    """`messages` bounced this way. `by_class` counts the reports themselves, by the provider's classes."""

    messages: int
    by_class: dict[str, int]


class AllBouncesOut(Output):
    """`messages` bounced at all, hard (refused for good) or soft (blocked this time)."""

    messages: int
    hard: BouncesOut
    soft: BouncesOut


class DropsOut(Output):
    """`messages` were dropped by the provider, which did not try to deliver them. `by_reason` counts the reports."""

    messages: int
    by_reason: dict[str, int]


class CostOut(Output):
    parts: int
    price_per_part: float
    amount: float
    currency: str


class SmsOut(Output):
    """SMS of an execution. `cost` is null when no price of a part is set (`ICS_SMS_PART_PRICE`)."""

    sent: int
    parts: int
    delivered: int
    failed: int
    expired: int
    rejected: int
    replies: int
    opt_outs: int
    rates: dict[str, RateOut]
    cost: CostOut | None

    @classmethod
    def of(cls, counts: Mapping[str, int], *, price: float, currency: str) -> Self:
        return cls(
            sent=counts["sent"],
            parts=counts["parts"],
            delivered=counts["delivered"],
            failed=counts["undelivered"],
            expired=counts["expired"],
            rejected=counts["rejected"],
            replies=counts["replied"],
            opt_outs=counts["opted_out"],
            rates=_rates(rates(counts, SMS_RATES)),
            cost=_cost(cost_of(counts["parts"], price, currency)),
        )


class StatsBlocks(Output):
    """The counts of an execution in groups."""

    opens: EngagementOut
    clicks: EngagementOut
    bounces: AllBouncesOut
    drops: DropsOut
    complaints: int
    unsubscribes: int
    rates: dict[str, RateOut] = Field(description="Rates by name; each names what it is out of.")
    sms_summary: SmsOut

    @classmethod
    def blocks_of(cls, counts: Counts, *, price: float, currency: str) -> "StatsBlocks":
        own, reasons = counts.messages, counts.reasons
        return StatsBlocks(
            opens=_engagement(own, "opened", "opens"),
            clicks=_engagement(own, "clicked", "clicks"),
            bounces=AllBouncesOut(
                messages=own["bounced_by_any"],
                hard=BouncesOut(messages=own["bounced"], by_class=reasons.get(Breakdown.BOUNCED, {})),
                soft=BouncesOut(messages=own["blocked"], by_class=reasons.get(Breakdown.BLOCKED, {})),
            ),
            drops=DropsOut(messages=own["dropped"], by_reason=reasons.get(Breakdown.DROPPED, {})),
            complaints=own["complained"],
            unsubscribes=own["unsubscribed"],
            rates=_rates(rates(own, EMAIL_RATES)),
            sms_summary=SmsOut.of(counts.sms, price=price, currency=currency),
        )


class PointOut(Output):
    """The counts by kind from `at` on, for as long as the interval is. Kinds without any are left out."""

    at: datetime
    counts: dict[str, int]


class SeriesOut(Output):
    """Points in order of time; those without any count are left out. `next_cursor` is null at the end."""

    items: list[PointOut]
    next_cursor: int | None


class LinkOut(Output):
    """Clicks of one link. `people` are different clients who clicked it themselves. `url` is null for links that were forgotten
    with their clients."""

    url: Link
    total: int
    human: int
    machine: int
    people: int


class AllLinksOut(Output):
    """All `links` together. Who clicked two of them is one of the `people`."""

    links: int
    total: int
    human: int
    machine: int
    people: int


class LinksOut(Output):
    """The links that were clicked most, and all of them together."""

    items: list[LinkOut]
    all: AllLinksOut


class DomainCounts(Output):
    intended: int
    excluded: int
    accepted: int
    delivered: int
    deferred: int
    bounced: int
    blocked: int
    dropped: int
    opened: int
    clicked: int
    complained: int
    unsubscribed: int


class DomainOut(DomainCounts):
    """Messages to one domain, by what became of them; the words are those of `messages` in the stats."""

    domain: str


class RestOut(DomainCounts):
    """All other domains together; `domains` is how many."""

    domains: int


class DomainsOut(Output):
    """The domains with most messages, and the rest."""

    items: list[DomainOut]
    rest: RestOut


class ComparedOut(Output):
    """One execution with its counts: `messages` and `sms` as in its stats."""

    execution_id: int
    state: ExecutionState
    warning: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    messages: dict[str, int]
    sms: dict[str, int]
    rates: dict[str, RateOut]
    sms_cost: CostOut | None


def compared_out(compared: Compared, *, price: float, currency: str) -> ComparedOut:
    execution, counts = compared.execution, compared.counts
    return ComparedOut(
        execution_id=execution.id,
        state=execution.state,
        warning=execution.warning,
        created_at=execution.created_at,
        started_at=execution.started_at,
        finished_at=execution.finished_at,
        messages=counts.messages,
        sms=counts.sms,
        rates=_rates(rates(counts.messages)),
        sms_cost=_cost(cost_of(counts.sms["parts"], price, currency)),
    )


def _engagement(counts: Mapping[str, int], who: str, how_often: str) -> EngagementOut:
    human, machine = counts[how_often], counts[f"machine_{how_often}"]
    return EngagementOut(
        unique=counts[f"{who}_by_any"],
        unique_human=counts[who],
        unique_machine=counts[f"machine_{who}"],
        total=human + machine,
        human=human,
        machine=machine,
    )


def _rates(found: Mapping[str, Rate]) -> dict[str, RateOut]:
    return {name: RateOut.model_validate(each) for name, each in found.items()}


def _cost(cost: Cost | None) -> CostOut | None:
    return None if cost is None else CostOut.model_validate(cost)
