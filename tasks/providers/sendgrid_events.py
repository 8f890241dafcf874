"""SendGrid's Event Webhook: verify the bytes, then read them. Pure.

Source: Twilio SendGrid, "Event Webhook Reference" and "Getting Started with the Event Webhook Security Features".
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from db.reasons import bounce_class, drop_reason
from tasks.providers.events import BadEvent, EventKind, ProviderEvent, storable
from tasks.providers.sendgrid_payload import MESSAGE_ARG

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
_KINDS = {
    "processed": EventKind.PROCESSED,
    "deferred": EventKind.DEFERRED,
    "delivered": EventKind.DELIVERED,
    "bounce": EventKind.BOUNCE,
    "dropped": EventKind.DROPPED,
    "open": EventKind.OPEN,
    "click": EventKind.CLICK,
    "spamreport": EventKind.SPAM_REPORT,
    "unsubscribe": EventKind.UNSUBSCRIBE,
    "group_unsubscribe": EventKind.GROUP_UNSUBSCRIBE,
    "group_resubscribe": EventKind.GROUP_RESUBSCRIBE,
    "account_status_change": EventKind.ACCOUNT_STATUS,
}
_KEPT_RAW_CHARACTERS = 2000
# What `ProviderEvent` has fields for; stored twice it would be half of all events.
_IN_FIELDS = frozenset(
    {"email", "timestamp", "event", "sg_event_id", "url", "reason", "response", MESSAGE_ARG}
)


def verify_signature(public_keys: Sequence[str], signature: str, timestamp: str, body: bytes) -> bool:
    """Whether one of the keys (base64 DER SPKI) signed timestamp + raw body with ECDSA P-256 / SHA-256."""
    try:
        decoded = base64.b64decode(signature, validate=True)
        signed = timestamp.encode("ascii") + body
    except (binascii.Error, ValueError):
        return False
    return any(_is_signed_by(key, decoded, signed) for key in public_keys)


def age_seconds(timestamp: str, now: datetime) -> float | None:
    """How old a signed timestamp is; None for one that is no number of seconds."""
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        return None
    return now.timestamp() - int(timestamp)


def parse_events(body: bytes) -> list[ProviderEvent | BadEvent]:
    """The events of a (verified) body; what cannot be read comes as BadEvent in its place."""
    try:
        items = load_items(body)
    except (ValueError, RecursionError) as error:
        return [BadEvent(f"not JSON: {error}"[:300], _shortened(body))]
    return [_parse(item) for item in items]


def load_items(body: bytes) -> list[Any]:
    """What the body holds, one item for each event of `parse_events`, without what no database could store.

    Raises:
        ValueError, RecursionError: it is no JSON.
    """
    document = _load(body)
    return [storable(item) for item in document] if isinstance(document, list) else [storable(document)]


def _load(body: bytes) -> Any:
    """JSON as providers write it: half of a surrogate pair, as in a user agent that was cut, spoils no other event."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _storable(json.loads(body.decode("utf-8", "replace")))


def _storable(value: Any) -> Any:
    """The same without what neither UTF-8 nor JSON columns can hold."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(item) for name, item in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value if abs(value) < 2**63 else None
    return value


def _parse(item: Any) -> ProviderEvent | BadEvent:
    if not isinstance(item, dict):
        return BadEvent("an event has to be an object", _shortened(orjson.dumps(item)))
    moment = _moment(item.get("timestamp"))
    if moment is None:
        return BadEvent("timestamp: seconds since 1970 are needed", _shortened(orjson.dumps(item)))
    email, kind = _text(item, "email"), _kind(item)
    return ProviderEvent(
        provider="sendgrid",
        kind=kind,
        occurred_at=moment,
        reference=_text(item, MESSAGE_ARG),
        address=(email or "").strip().lower() or None,
        provider_event_id=_text(item, "sg_event_id"),
        provider_message_id=_text(item, "sg_message_id"),
        url=_text(item, "url"),
        url_offset=_offset(item.get("url_offset")),
        reason=_text(item, "reason") or _text(item, "response"),
        classification=_classification(kind, item),
        raw={name: value for name, value in item.items() if name not in _IN_FIELDS},
    )


def _classification(kind: EventKind, item: Mapping[str, Any]) -> str | None:
    if kind is EventKind.DROPPED:
        return drop_reason(_text(item, "reason")).value
    if kind in (EventKind.BOUNCE, EventKind.BLOCKED):
        return bounce_class(_text(item, "bounce_classification")).value
    return None


def _kind(item: Mapping[str, Any]) -> EventKind:
    kind = _KINDS.get(str(item.get("event")), EventKind.OTHER)
    if kind is EventKind.OPEN and is_flagged(item):
        return EventKind.MACHINE_OPEN
    if kind is EventKind.BOUNCE and item.get("type") == "blocked":
        return EventKind.BLOCKED
    return kind


def is_flagged(item: Mapping[str, Any]) -> bool:
    """Whether SendGrid says that a machine opened it."""
    return item.get("sg_machine_open") in (True, "true", 1)


def _moment(value: Any) -> datetime | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) <= 12 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        moment = datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if 2000 <= moment.year <= 9000 else None


def _text(item: Mapping[str, Any], name: str) -> str | None:
    value = item.get(name)
    return value if isinstance(value, str) and value else None


def _offset(value: Any) -> str | None:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode() if value else None


def _shortened(raw: bytes) -> str:
    return raw[:_KEPT_RAW_CHARACTERS].decode("utf-8", "replace")


def _is_signed_by(key: str, signature: bytes, signed: bytes) -> bool:
    public_key = _load_key(key)
    if public_key is None:
        return False
    try:
        public_key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=16)
def _load_key(key: str) -> ec.EllipticCurvePublicKey | None:
    try:
        loaded = load_der_public_key(base64.b64decode(key, validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return None
    return loaded if isinstance(loaded, ec.EllipticCurvePublicKey) else None
