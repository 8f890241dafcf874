"""Sendmode's delivery reports and replies: verify, then read. Pure.

Sendmode documents no signature of its own, so the platform asks for one of two: a secret as the last segment of the
webhook's path, or an HMAC-SHA256 (hex) in `X-Sendmode-Signature` over `X-Sendmode-Timestamp` + the raw body; for a
GET, over the timestamp + the raw query string.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson

from tasks.providers.events import BadEvent, EventKind, ProviderEvent, storable

SIGNATURE_HEADER = "X-Sendmode-Signature"
TIMESTAMP_HEADER = "X-Sendmode-Timestamp"
_MOST_FIELDS = 100
_STATUSES = {
    "DELIVRD": EventKind.DELIVERED,
    "DELIVERED": EventKind.DELIVERED,
    "DISPATCHED": EventKind.DISPATCHED,
    "EXPIRED": EventKind.EXPIRED,
    "UNDELIV": EventKind.FAILED,
    "FAILED": EventKind.FAILED,
    "REJECTD": EventKind.REJECTED,
    "REJECTED": EventKind.REJECTED,
    "OPTED OUT - BLOCKED": EventKind.OPT_OUT,
}
# As the whole reply, trimmed and in any case: "bus stop at 5?" is no wish to stop (CTIA Messaging Principles).
_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT OUT"})
_START = frozenset({"START", "YES", "UNSTOP"})


def verify_signature(secret: str, signature: str, timestamp: str, signed: bytes) -> bool:
    """Whether `signature` is the HMAC of timestamp + `signed` (raw body, or raw query string of a GET)."""
    if not secret or not timestamp.isascii():
        return False
    expected = hmac.new(secret.encode(), timestamp.encode() + signed, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.strip().lower().encode("utf-8", "replace"))


def is_secret(secret: str, given: str) -> bool:
    """Whether the path's last segment is the secret; takes the same time either way."""
    return bool(secret) and hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace"))


def parse_delivery(
    body: bytes, content_type: str, query: str, received_at: datetime | None = None
) -> list[ProviderEvent | BadEvent]:
    """A delivery report. It names no moment, so that of its arrival stands for it."""
    fields = _fields(body, content_type, query)
    if isinstance(fields, BadEvent):
        return [fields]
    status = fields.get("status", "").strip().upper()
    reference = fields.get("customerid") or None
    if not status or not (reference or fields.get("phonenumber")):
        return [BadEvent("a delivery report needs Status and CustomerID or Phonenumber", _shortened(fields))]
    return [
        ProviderEvent(
            provider="sendmode",
            kind=_STATUSES.get(status, EventKind.OTHER),
            occurred_at=_moment(fields, received_at),
            reference=reference,
            address=_phone(fields.get("phonenumber")),
            provider_event_id=_event_id("report", fields, status),
            reason=status if status not in ("DELIVRD", "DELIVERED") else None,
            is_report=True,
            raw=dict(fields),
        )
    ]


def parse_reply(
    body: bytes, content_type: str, query: str, received_at: datetime | None = None
) -> list[ProviderEvent | BadEvent]:
    """A reply; STOP and START words are told from other text."""
    fields = _fields(body, content_type, query)
    if isinstance(fields, BadEvent):
        return [fields]
    phone = _phone(fields.get("mobilenumber"))
    if phone is None:
        return [BadEvent("a reply needs mobilenumber", _shortened(fields))]
    text = fields.get("command", "")
    return [
        ProviderEvent(
            provider="sendmode",
            kind=kind_of_reply(text),
            occurred_at=_moment(fields, received_at),
            reference=fields.get("customerid") or None,
            address=phone,
            provider_event_id=_event_id("reply", fields, ""),
            reason=text[:1000] or None,
            raw=dict(fields),
        )
    ]


def kind_of_reply(text: str) -> EventKind:
    """STOP words opt out, START words opt in, as the whole reply; anything else is a reply."""
    word = " ".join(text.split()).upper()
    if word in _STOP:
        return EventKind.OPT_OUT
    return EventKind.OPT_IN if word in _START else EventKind.REPLY


def _fields(body: bytes, content_type: str, query: str) -> dict[str, str] | BadEvent:
    """The fields of query, form or JSON, with keys in lower case; the body wins over the query."""
    try:
        fields: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        return BadEvent(f"not a query: {error}"[:300], query[:2000])
    if body.strip():
        found = _body_fields(body, content_type)
        if isinstance(found, BadEvent):
            return found
        fields.update(found)
    return {str(key).lower(): _plain(value) for key, value in fields.items()}


def _body_fields(body: bytes, content_type: str) -> Mapping[str, Any] | BadEvent:
    if "json" in content_type.lower() or body.lstrip()[:1] in (b"{", b"["):
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            return BadEvent(f"not JSON: {error}"[:300], body[:2000].decode("utf-8", "replace"))
        if isinstance(document, dict):
            return document
        return BadEvent("a report has to be one object", body[:2000].decode("utf-8", "replace"))
    try:
        text = body.decode("utf-8", "replace")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError as error:
        return BadEvent(f"not a form: {error}"[:300], body[:2000].decode("utf-8", "replace"))


def _plain(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(storable(value)).decode()


def _phone(text: str | None) -> str | None:
    digits = "".join(character for character in text or "" if character in "0123456789").removeprefix("00")
    return f"+{digits}" if 5 <= len(digits) <= 15 else None


def _event_id(kind: str, fields: Mapping[str, str], status: str) -> str | None:
    """Sendmode's EventID, made unique among providers, kinds, messages and the stations of one message: what it names
    is not documented."""
    given = fields.get("eventid")
    return f"sendmode:{kind}:{given}:{fields.get('customerid', '')}:{status}"[:100] if given else None


def _moment(fields: Mapping[str, str], received_at: datetime | None) -> datetime:
    stated = fields.get("timestamp", "")
    if stated.isascii() and stated.isdigit() and 9 <= len(stated) <= 10:
        return datetime.fromtimestamp(int(stated), UTC)
    return received_at or datetime.now(UTC)


def _shortened(fields: Mapping[str, str]) -> str:
    return json.dumps(dict(fields))[:2000]
