"""Events that are due at about the same time, packed for the outbox: SendGrid posts many at once, Sendmode one. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sandbox.journal import Parcel

SENDGRID_ROUTE = "sendgrid"
DELIVERY_ROUTE = "sendmode/delivery"
REPLY_ROUTE = "sendmode/reply"
MAX_EVENTS = 1000
MAX_BYTES = 700_000  # SendGrid posts up to 768 KB
LONGEST_WAIT = 0.5  # seconds that an event waits for others
BETWEEN_EVENTS = b",\r\n"


@dataclass(frozen=True)
class Due:
    """Something to post at `due_at` (epoch seconds): an event of SendGrid, or a report or reply of Sendmode, as JSON."""

    due_at: float
    route: str
    payload: bytes


def parcels_of(due: Iterable[Due]) -> Iterator[Parcel]:
    """The same events in order, as few parcels: one for each of Sendmode's, up to 1,000 together of SendGrid's."""
    together: list[Due] = []
    size = 0
    for item in sorted(due, key=lambda item: item.due_at):
        if item.route != SENDGRID_ROUTE:
            yield Parcel(item.due_at, item.route, 1, item.payload)
            continue
        if together and _is_full(together, size, item):
            yield _parcel(together)
            together, size = [], 0
        together.append(item)
        size += len(item.payload) + len(BETWEEN_EVENTS)
    if together:
        yield _parcel(together)


def _is_full(together: list[Due], size: int, item: Due) -> bool:
    return (
        len(together) >= MAX_EVENTS
        or size + len(item.payload) > MAX_BYTES
        or item.due_at > together[0].due_at + LONGEST_WAIT
    )


def _parcel(together: list[Due]) -> Parcel:
    return Parcel(
        due_at=together[-1].due_at,
        route=SENDGRID_ROUTE,
        events=len(together),
        payload=BETWEEN_EVENTS.join(item.payload for item in together),
    )
