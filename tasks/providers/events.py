"""Events of both providers in one vocabulary. Pure."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

Provider = Literal["sendgrid", "sendmode"]
MOST_DEPTH = 20
"""Levels of lists and objects in one event. MariaDB reads 32 of a document, MySQL 100, orjson writes 254."""
LONGEST_NAME = 1000
"""Characters of a field's name. MySQL takes 65,535 bytes."""


class EventKind(StrEnum):
    PROCESSED = "processed"
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCE = "bounce"
    BLOCKED = "blocked"
    DROPPED = "dropped"
    OPEN = "open"
    MACHINE_OPEN = "machine_open"
    CLICK = "click"
    MACHINE_CLICK = "machine_click"
    SPAM_REPORT = "spam_report"
    UNSUBSCRIBE = "unsubscribe"
    GROUP_UNSUBSCRIBE = "group_unsubscribe"
    GROUP_RESUBSCRIBE = "group_resubscribe"
    ACCOUNT_STATUS = "account_status"
    DISPATCHED = "dispatched"
    FAILED = "failed"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLY = "reply"
    OPT_OUT = "opt_out"
    OPT_IN = "opt_in"
    OTHER = "other"


_DETAILS = {
    EventKind.BOUNCE: "bounce_classification",
    EventKind.BLOCKED: "bounce_classification",
    EventKind.OPEN: "useragent",
    EventKind.MACHINE_OPEN: "useragent",
    EventKind.CLICK: "useragent",
}
"""The field that tells events of the kind apart."""


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """One fact about a message. `reference` is ours (`<uid>-<message id>`); `raw` is what else the provider said, beyond the fields.

    `classification` is a word of `db.reasons`: the class of a bounce or a block, the reason of a drop. `is_report` when it is a
    station of an SMS on its way, which each message passes once; reports seldom name a moment, and that of their arrival stands for it.
    """

    provider: Provider
    kind: EventKind
    occurred_at: datetime
    reference: str | None = None
    address: str | None = None
    provider_event_id: str | None = None
    provider_message_id: str | None = None
    url: str | None = None
    url_offset: str | None = None
    reason: str | None = None
    classification: str | None = None
    is_report: bool = False
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def request_id(self) -> str | None:
        """The X-Message-Id of the request: `sg_message_id` begins with it in most events."""
        return (self.provider_message_id or "").partition(".")[0] or None


@dataclass(frozen=True, slots=True)
class BadEvent:
    """Something that is no event, kept with the reason."""

    reason: str
    raw: str


def fingerprint(event: ProviderEvent) -> bytes:
    """32 bytes that are the same for every copy of a fact.

    SendGrid's own event id changes on some retries and is missing on some types (sendgrid-nodejs#1435, docs#2862), so
    copies are recognised by what they say: message, kind, moment, link, and the reason or the program behind it.
    """
    about = event.reference or _addressee(event)
    is_undated = event.is_report and event.reference is not None
    moment = "" if is_undated else f"{event.occurred_at.timestamp():.6f}"
    facts = (
        event.provider,
        event.kind,
        about,
        moment,
        event.url or "",
        event.url_offset or "",
        _detail(event),
    )
    return _digest(*facts)


def _addressee(event: ProviderEvent) -> str:
    """What stands for the message where our reference is lost. Two requests may have written to one address, and both be told of
    in the same second."""
    if event.address and event.request_id:
        return f"{event.request_id} {event.address}"
    return event.address or event.provider_message_id or ""


def fingerprint_bad(event: BadEvent) -> bytes:
    return _digest("bad", event.raw)


def _detail(event: ProviderEvent) -> str:
    """What else tells two facts of the same second apart, in the provider's own words: whichever of them came second would otherwise
    not be counted under its reason or its label."""
    if event.kind in (EventKind.REPLY, EventKind.DROPPED, EventKind.OTHER):
        return event.reason or ""
    name = _DETAILS.get(event.kind)
    value = event.raw.get(name) if name else None
    return value if isinstance(value, str) else ""


def _digest(*parts: str) -> bytes:
    text = "\x1f".join(part.replace("\x1f", " ") for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def storable(value: Any) -> Any:
    """The value without what is nested more deeply than `MOST_DEPTH`, which becomes null, and with long names cut; the rest is as it was."""
    return value if _fits(value, MOST_DEPTH) else _cut(value, MOST_DEPTH)


def _fits(value: Any, left: int) -> bool:
    if isinstance(value, dict):
        return left > 0 and all(
            len(name) <= LONGEST_NAME and _fits(each, left - 1) for name, each in value.items()
        )
    if isinstance(value, list):
        return left > 0 and all(_fits(each, left - 1) for each in value)
    return True


def _cut(value: Any, left: int) -> Any:
    if isinstance(value, dict):
        if left == 0:
            return None
        return {name[:LONGEST_NAME]: _cut(each, left - 1) for name, each in value.items()}
    if isinstance(value, list):
        return [_cut(each, left - 1) for each in value] if left > 0 else None
    return value
