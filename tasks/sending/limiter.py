"""Keeps to the rates that the database has for providers and flows, together with all other workers."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from db.engine import Database
from db.queries import rate_limits
from db.queries.transitions import ClaimedBatch

MOST_HORIZON_SECONDS = 5.0
"""How far ahead a place is reserved at most: what a changed limit may come too late by."""
REFRESH_SECONDS = 1.0
"""How old the knowledge may be that there is no limit at all."""


@dataclass(frozen=True)
class Pace:
    """When a batch's requests may begin (time.monotonic), and how many seconds one follows another.

    Whoever is later than `latest` has missed the place: a burst more could then meet those of the places after it.
    """

    begin_at: float
    interval: float = 0.0
    latest: float = float("inf")

    def from_now(self) -> Callable[[int], float]:
        """When the request of a number (from 0) may begin. What began late ends late: it does not catch up, since
        that would be faster than the rate."""
        begin = max(self.begin_at, time.monotonic())
        return lambda number: begin + number * self.interval


@dataclass
class Limiter:
    """One a process, shared by its lanes."""

    database: Database
    horizon_seconds: float = MOST_HORIZON_SECONDS
    _names: frozenset[str] = frozenset()
    _read_at: float = float("-inf")
    _lock: Lock = field(default_factory=Lock)

    def reserve(self, batch: ClaimedBatch, *, requests: int, messages: int, burst: int) -> Pace | float:
        """The pace of the batch, or for how many seconds there is no place for it.

        `burst` is how many of its messages leave at once.
        """
        names = [
            name for name in rate_limits.names_for(batch.channel, batch.flow_id) if name in self._active()
        ]
        if not names or not messages:
            return Pace(time.monotonic())
        slot = self.database.run(
            lambda s: rate_limits.reserve(
                s, names, requests=requests, messages=messages, horizon=self.horizon_seconds
            )
        )
        if not slot.is_reserved:
            return slot.wait - self.horizon_seconds
        # Counted from after the answer, so that it is late rather than early.
        begin_at = time.monotonic() + slot.wait
        return Pace(begin_at, slot.interval, begin_at + slot.length * burst / messages)

    def _active(self) -> frozenset[str]:
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_SECONDS:
                with self.database.reading() as session:
                    self._names = rate_limits.list_active_names(session)
                self._read_at = time.monotonic()
            return self._names
