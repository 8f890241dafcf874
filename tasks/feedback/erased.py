"""Events about people who were erased: they are counted, and bring no address back."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from db.engine import Session
from db.models import WebhookDelivery
from db.queries.erasure import list_erased
from db.queries.feedback import KnownMessage
from db.states import Channel
from settings import get_settings
from tasks.erasure import by_erased_address
from tasks.feedback.sources import Source
from tasks.privacy.redaction import RawWebhook, without
from tasks.providers.events import BadEvent, ProviderEvent
from tasks.signing import secret_key

Parsed = Sequence[tuple[WebhookDelivery, ProviderEvent | BadEvent]]
_ANY_ADDRESS = re.compile(r"[^\s\"'<>,;:(){}\[\]\\]+@[\w.-]+\w|\+?\d{7,15}")


def find_erased(session: Session, parsed: Parsed, messages: Mapping[int, KnownMessage]) -> set[int]:
    """Positions in `parsed` of the events about somebody who was erased. `messages` counts only the readable events.

    A message without an address tells at once. Only events of no message of ours, which are few, are looked up by the
    hashes of the addresses they name.
    """
    erased: set[int] = set()
    named: dict[int, set[tuple[Channel, str]]] = {}
    readable = -1
    for position, (_, event) in enumerate(parsed):
        if isinstance(event, BadEvent):
            named[position] = set(_addresses_in(event.raw))
            continue
        readable += 1
        message = messages.get(readable)
        if message is not None and message.address is None:
            erased.add(position)
        elif message is None and event.address:
            channel = Channel.SMS if event.provider == "sendmode" else Channel.EMAIL
            named[position] = {(channel, event.address)}
    gone = _erased_among(session, {each for addresses in named.values() for each in addresses})
    return erased | {position for position, addresses in named.items() if addresses & gone}


def redact(session: Session, parsed: Parsed, erased: Collection[int]) -> None:
    """Take these events out of the raw webhooks."""
    begins: dict[int, int] = {}
    theirs: dict[int, list[int]] = {}
    for position, (delivery, _) in enumerate(parsed):
        begin = begins.setdefault(delivery.id, position)
        if position in erased:
            theirs.setdefault(begin, []).append(position - begin)
    for begin, positions in theirs.items():
        delivery, _ = parsed[begin]
        left = without(Source(delivery.source), RawWebhook(delivery.body, delivery.query), positions)
        delivery.body, delivery.query = left.body, left.query
    session.flush()


def _addresses_in(text: str) -> Iterable[tuple[Channel, str]]:
    for found in _ANY_ADDRESS.findall(text):
        if "@" in found:
            yield Channel.EMAIL, found.lower()
        else:
            yield Channel.SMS, "+" + found.lstrip("+").removeprefix("00")


def _erased_among(session: Session, named: Collection[tuple[Channel, str]]) -> set[tuple[Channel, str]]:
    if not named:
        return set()
    key = secret_key(get_settings())
    gone: set[tuple[Channel, str]] = set()
    for channel in Channel:
        by_hash = by_erased_address(key, channel, [address for kind, address in named if kind is channel])
        gone |= {(channel, by_hash[stored]) for stored in list_erased(session, channel, by_hash)}
    return gone
