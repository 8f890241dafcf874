"""Rates of an execution: which count is divided by which. Pure.

Every place that shows or judges a rate asks here, so that the guard pauses by the very number that people see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

_DIGITS = 4


@dataclass(frozen=True)
class Rate:
    """`count` out of `base`; `of` is the name of the count that is the base."""

    count: int
    of: str
    base: int

    @property
    def percent(self) -> float | None:
        """None where there is nothing to divide by."""
        return round(100 * self.count / self.base, _DIGITS) if self.base else None

    def is_over(self, percent: float) -> bool:
        """Whether it is above the limit, told without the rounding of fractions: 3 of 1,000 are not over 0.3 %."""
        return self.base > 0 and 100 * self.count > Decimal(str(percent)) * self.base


@dataclass(frozen=True)
class Cost:
    """What the parts of SMS that were sent cost, in `currency`."""

    parts: int
    price_per_part: float
    amount: float
    currency: str


EMAIL_RATES: Mapping[str, tuple[str, str]] = {
    "delivery": ("delivered", "accepted"),
    "bounce": ("bounced_by_any", "accepted"),
    "hard_bounce": ("bounced", "accepted"),
    "complaint": ("complained", "accepted"),
    "open": ("opened", "delivered"),
    "open_by_any": ("opened_by_any", "delivered"),
    "click": ("clicked", "delivered"),
    "click_by_any": ("clicked_by_any", "delivered"),
    "click_to_open": ("clicked", "opened"),
    "unsubscribe": ("unsubscribed", "delivered"),
}
"""Rates by name: the count and its base, columns of `stats`.

Complaints are counted out of what was accepted, not out of what was delivered: reports of deliveries come later than the first
complaints may, and a base that is still growing would make a few of them look like many.
"""
SMS_RATES: Mapping[str, tuple[str, str]] = {
    "delivery": ("delivered", "sent"),
    "opt_out": ("opted_out", "delivered"),
    "reply": ("replied", "delivered"),
}
"""The same of `sendmode_stats`."""


def rate(name: str, counts: Mapping[str, int], table: Mapping[str, tuple[str, str]] = EMAIL_RATES) -> Rate:
    count, base = table[name]
    return Rate(counts[count], base, counts[base])


def rates(counts: Mapping[str, int], table: Mapping[str, tuple[str, str]] = EMAIL_RATES) -> dict[str, Rate]:
    """All rates of the table, by name."""
    return {name: rate(name, counts, table) for name in table}


def cost_of(parts: int, price_per_part: float, currency: str) -> Cost | None:
    """None where no price is known (0)."""
    if not price_per_part:
        return None
    amount = Decimal(str(price_per_part)) * parts
    return Cost(parts, price_per_part, float(round(amount, 4)), currency)
