"""Fault switches: what the next requests to a provider get instead of a proper answer."""

import random
import threading
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Provider = Literal["sendgrid", "sendmode"]


class Kind(StrEnum):
    LATENCY = "latency"
    TOO_MANY = "429"
    ERROR_BEFORE = "500_before"
    ERROR_AFTER_ACCEPT = "500_after_accept"
    HANG = "hang"
    SLOW_DRIP = "slow_drip"
    RESET_BEFORE = "reset_before"
    RESET_AFTER_ACCEPT = "reset_after_accept"
    TRUNCATED = "truncated"
    GARBLED = "garbled"
    PARTIAL_REFUSAL = "partial_refusal"

    @property
    def is_accepted_first(self) -> bool:
        """Whether the provider takes the message before it fails to say so: nobody who asks can know."""
        return self in (
            Kind.ERROR_AFTER_ACCEPT,
            Kind.HANG,
            Kind.SLOW_DRIP,
            Kind.RESET_AFTER_ACCEPT,
            Kind.TRUNCATED,
            Kind.GARBLED,
        )


@dataclass
class Fault:
    """`count` requests, each with `probability`, get this; `seconds` are those of latency, hang and slow drip."""

    provider: Provider
    kind: Kind
    count: int = 1
    probability: float = 1.0
    seconds: float = 1.0


class Switches:
    """The faults that are set, and how often each kind fired."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self._faults: list[Fault] = []
        self.fired: dict[str, int] = {}

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def waiting(self) -> list[Fault]:
        """Faults that have not used up their count."""
        with self._lock:
            return [replace(fault) for fault in self._faults]

    def take(self, provider: Provider) -> Fault | None:
        """The fault this request gets, if any."""
        with self._lock:
            for fault in self._faults:
                if fault.provider == provider and self._chance.random() < fault.probability:
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove(fault)
                    key = f"{provider}:{fault.kind}"
                    self.fired[key] = self.fired.get(key, 0) + 1
                    return fault
        return None
