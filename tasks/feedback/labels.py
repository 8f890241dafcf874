"""Who opened and who clicked: a person or a machine. Pure.

An open is a machine's when SendGrid says so (`sg_machine_open`: Apple's Mail Privacy Protection and the like), or when the
program that asked is a known scanner. Proxies that load images when a person opens (Google's, Yahoo's) are none.

A click is a machine's when its program is a known scanner, or when so many different links of the message were clicked within
seconds after its delivery that no person can have done it. That is told from all clicks of the message and its delivery together,
so an event that comes late may change the label of earlier ones; the same events give the same labels in any order.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Generic, TypeVar

from tasks.providers.events import EventKind

K = TypeVar("K")
CLICKS = (EventKind.CLICK, EventKind.MACHINE_CLICK)
OPENS = (EventKind.OPEN, EventKind.MACHINE_OPEN)
# Names under which security products, link checkers and programs introduce themselves.
_SCANNERS = re.compile(
    r"barracuda|mimecast|proofpoint|symantec|messagelabs|trendmicro|trend micro|forcepoint|fireeye|ironport|sophos"
    r"|bitdefender|kaspersky|checkpoint|cloudmark|safelinks|urldefense|microsoft office existence discovery"
    r"|bot\b|crawler|spider|scanner|linkcheck|preview|headless|phantomjs"
    r"|python-requests|python-urllib|aiohttp|go-http-client|curl/|wget/|libwww|okhttp|java/",
    re.IGNORECASE,
)


_AGENT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ScannerRule:
    """`links` different links within `window` after the delivery are a scanner's."""

    links: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Click(Generic[K]):
    """A click of one message; `key` tells the caller which."""

    key: K
    occurred_at: datetime
    url: str | None
    is_scanner: bool


def is_scanner(raw: Mapping[str, Any]) -> bool:
    """Whether the program that an open or a click came from is a known scanner."""
    agent = raw.get("useragent")
    return isinstance(agent, str) and _is_scanner(agent[:_AGENT_CHARACTERS])


@lru_cache(maxsize=4096)
def _is_scanner(agent: str) -> bool:
    return _SCANNERS.search(agent) is not None


def label_open(kind: EventKind, raw: Mapping[str, Any]) -> EventKind:
    """An open's kind; it depends on nothing but the event."""
    is_machine = kind is EventKind.MACHINE_OPEN or is_scanner(raw)
    return EventKind.MACHINE_OPEN if is_machine else EventKind.OPEN


def label_clicks(
    clicks: Sequence[Click[K]], delivered_at: Iterable[datetime], rule: ScannerRule
) -> dict[K, EventKind]:
    """The kind of each click of one message. `delivered_at` are the deliveries that are known; the first one counts."""
    start = min(delivered_at, default=None)
    hasty = [] if start is None else [each for each in clicks if each.occurred_at <= start + rule.window]
    is_burst = len({each.url for each in hasty}) >= rule.links
    machine = {each.key for each in clicks if each.is_scanner}
    if is_burst:
        machine |= {each.key for each in hasty}
    return {each.key: EventKind.MACHINE_CLICK if each.key in machine else EventKind.CLICK for each in clicks}
