"""What a plot of an execution shows: sends, deliveries, opens and clicks over time, in as many steps as can be told apart. Pure."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MOST_STEPS = 240
# From a minute, in which counts are kept, to a week.
_STEPS = tuple(
    timedelta(minutes=each) for each in (1, 2, 5, 10, 15, 30, 60, 120, 360, 720, 1440, 2880, 10080)
)
CURVES: Mapping[str, str] = {
    "accepted": "sent",
    "delivered": "delivered",
    "open": "opens",
    "click": "clicks",
}
"""Kinds of `stats_minutes` and what their curves are called. Opens and clicks are those of people."""


@dataclass(frozen=True)
class Curves:
    """`moments` are where steps begin, `step` apart from each other; `counts` by name has a number for each of them."""

    step: timedelta
    moments: list[datetime]
    counts: dict[str, list[int]]

    @property
    def is_empty(self) -> bool:
        return not self.moments

    @property
    def edges(self) -> list[datetime]:
        """Where steps begin, and where the last one ends."""
        return [*self.moments, self.moments[-1] + self.step] if self.moments else []

    def totals(self, name: str) -> list[int]:
        """Added up to each of the edges: from 0 to all."""
        total, found = 0, [0]
        for count in self.counts[name]:
            total += count
            found.append(total)
        return found


def curves_of(minutes: Mapping[tuple[datetime, str], int]) -> Curves:
    """Of counts by (minute, kind). The last step may be wide: feedback comes in for weeks."""
    own = {key: count for key, count in minutes.items() if key[1] in CURVES and count > 0}
    if not own:
        return Curves(_STEPS[0], [], {name: [] for name in CURVES.values()})
    first, last = min(minute for minute, _ in own), max(minute for minute, _ in own)
    step = next((each for each in _STEPS if (last - first) / each < MOST_STEPS - 1), _STEPS[-1])
    start = _floor(first, step)
    places = min(int((last - start) / step) + 1, MOST_STEPS)
    counts: Counter[tuple[str, int]] = Counter()
    for (minute, kind), count in own.items():
        counts[CURVES[kind], min(int((minute - start) / step), places - 1)] += count
    return Curves(
        step,
        [start + place * step for place in range(places)],
        {name: [counts[name, place] for place in range(places)] for name in CURVES.values()},
    )


def _floor(moment: datetime, step: timedelta) -> datetime:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + ((moment - epoch) // step) * step
