"""Events about people who were erased: they are counted, and bring no address back."""

import re
from collections.abc import Collection, Iterable, Sequence

from db.engine import Session
from db.models import WebhookDelivery
from db.queries.erasure import list_erased
from db.queries.traces import rewrite_delivery
from db.states import Channel
from settings import get_settings
from tasks.erasure import by_erased_address
from tasks.feedback.incoming import Incoming, Parsed, Unreadable
from tasks.feedback.sources import Source
from tasks.privacy.redaction import RawWebhook, without
from tasks.signing import secret_keys

_ANY_ADDRESS = re.compile(r"[^\s\"'<>,;:(){}\[\]\\]+@[\w.-]+\w|\+?\d{7,15}")


def mark_erased(session: Session, parsed: Parsed) -> None:
    """Tell the events about somebody who was erased.

    A message without an address tells at once. Only events of no message of ours, which are few, are looked up by the
    hashes of the addresses they name.
    """
    named: list[tuple[Incoming | Unreadable, set[tuple[Channel, str]]]] = []
    for event in parsed.events:
        event.is_erased = event.message is not None and event.message.address is None
        if event.message is None and event.event.address:
            named.append((event, {(event.channel, event.event.address)}))
    named += [(each, set(_addresses_in(each.event.raw))) for each in parsed.unreadable]
    gone = _erased_among(session, {address for _, addresses in named for address in addresses})
    for each, addresses in named:
        each.is_erased = bool(addresses & gone)


def redact(session: Session, parsed: Parsed) -> None:
    """Take these events out of the raw webhooks."""
    theirs: dict[int, list[int]] = {}
    deliveries: dict[int, WebhookDelivery] = {}
    all_of: Sequence[Incoming | Unreadable] = [*parsed.events, *parsed.unreadable]
    for each in all_of:
        if each.is_erased:
            deliveries[each.delivery.id] = each.delivery
            theirs.setdefault(each.delivery.id, []).append(each.position)
    for delivery_id, positions in theirs.items():
        delivery = deliveries[delivery_id]
        left = without(Source(delivery.source), RawWebhook(delivery.body, delivery.query), positions)
        rewrite_delivery(session, delivery_id, body=left.body, query=left.query)


def _addresses_in(text: str) -> Iterable[tuple[Channel, str]]:
    for found in _ANY_ADDRESS.findall(text):
        if "@" in found:
            yield Channel.EMAIL, found.lower()
        else:
            yield Channel.SMS, "+" + found.lstrip("+").removeprefix("00")


def _erased_among(session: Session, named: Collection[tuple[Channel, str]]) -> set[tuple[Channel, str]]:
    if not named:
        return set()
    keys = secret_keys(get_settings())
    gone: set[tuple[Channel, str]] = set()
    for channel in Channel:
        by_hash = by_erased_address(keys, channel, [address for kind, address in named if kind is channel])
        gone |= {(channel, by_hash[stored]) for stored in list_erased(session, channel, by_hash)}
    return gone
