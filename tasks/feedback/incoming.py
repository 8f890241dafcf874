"""The events of stored webhooks, each with what is known of it so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from db.models import WebhookDelivery
from db.queries.feedback import KnownMessage, LockedMessage
from db.states import Channel
from tasks.feedback.labels import OPENS, label_open
from tasks.feedback.sources import Source, parse
from tasks.providers.events import BadEvent, EventKind, ProviderEvent, fingerprint, fingerprint_bad


@dataclass(slots=True)
class Incoming:
    """A readable event on its way into the ledger. `position` is its place in the webhook; `kind` its label in the end."""

    delivery: WebhookDelivery
    position: int
    event: ProviderEvent
    fingerprint: bytes
    kind: EventKind
    message: KnownMessage | LockedMessage | None = None
    client_id: int | None = None
    is_erased: bool = False

    @property
    def channel(self) -> Channel:
        return Channel.SMS if self.event.provider == "sendmode" else Channel.EMAIL

    @property
    def address(self) -> str | None:
        """Whom it is about: the address the message went to, else the one that the event names."""
        return self.message.address if self.message else self.event.address


@dataclass(slots=True)
class Unreadable:
    """Something in a webhook that is no event."""

    delivery: WebhookDelivery
    position: int
    event: BadEvent
    fingerprint: bytes
    is_erased: bool = False


@dataclass(slots=True)
class Parsed:
    """What is in some webhooks."""

    events: list[Incoming] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)

    def of(self, delivery_ids: Iterable[int]) -> "Parsed":
        """Only what came in these webhooks."""
        wanted = set(delivery_ids)
        return Parsed(
            [each for each in self.events if each.delivery.id in wanted],
            [each for each in self.unreadable if each.delivery.id in wanted],
        )


def parse_deliveries(deliveries: Sequence[WebhookDelivery]) -> Parsed:
    """Raises ValueError for a source that nobody knows."""
    parsed = Parsed()
    for delivery in deliveries:
        found = parse(
            Source(delivery.source),
            delivery.body,
            delivery.content_type,
            delivery.query,
            delivery.received_at,
        )
        for position, event in enumerate(found):
            if isinstance(event, BadEvent):
                parsed.unreadable.append(Unreadable(delivery, position, event, fingerprint_bad(event)))
            else:
                kind = label_open(event.kind, event.raw) if event.kind in OPENS else event.kind
                parsed.events.append(Incoming(delivery, position, event, fingerprint(event), kind))
    return parsed
