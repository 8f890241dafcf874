"""What an event of a provider means for the ledger and for suppressions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.reasons import BounceClass, DropReason
from db.states import Feedback, SuppressionReason
from tasks.providers.events import EventKind

BITS: Mapping[EventKind, Feedback] = {
    EventKind.PROCESSED: Feedback.PROCESSED,
    EventKind.DEFERRED: Feedback.DEFERRED,
    EventKind.DELIVERED: Feedback.DELIVERED,
    EventKind.BOUNCE: Feedback.BOUNCED,
    EventKind.BLOCKED: Feedback.BLOCKED,
    EventKind.DROPPED: Feedback.DROPPED,
    EventKind.OPEN: Feedback.OPENED,
    EventKind.MACHINE_OPEN: Feedback.MACHINE_OPENED,
    EventKind.CLICK: Feedback.CLICKED,
    EventKind.MACHINE_CLICK: Feedback.MACHINE_CLICKED,
    EventKind.SPAM_REPORT: Feedback.COMPLAINED,
    EventKind.UNSUBSCRIBE: Feedback.UNSUBSCRIBED,
    EventKind.GROUP_UNSUBSCRIBE: Feedback.UNSUBSCRIBED,
    EventKind.FAILED: Feedback.UNDELIVERED,
    EventKind.EXPIRED: Feedback.EXPIRED,
    EventKind.REJECTED: Feedback.REJECTED,
    EventKind.REPLY: Feedback.REPLIED,
    EventKind.OPT_OUT: Feedback.OPTED_OUT,
}


@dataclass(frozen=True)
class SuppressionWish:
    """What an event says about its address: suppress it for this reason, or lift what the reason suppressed.

    `is_said` when the address's owner says so.
    """

    reason: SuppressionReason
    active: bool = True
    is_said: bool = False


_SUPPRESSIONS: Mapping[EventKind, SuppressionWish] = {
    EventKind.BOUNCE: SuppressionWish(SuppressionReason.BOUNCE),
    EventKind.SPAM_REPORT: SuppressionWish(SuppressionReason.SPAM_REPORT, is_said=True),
    EventKind.UNSUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, is_said=True),
    EventKind.GROUP_UNSUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, is_said=True),
    EventKind.GROUP_RESUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, active=False, is_said=True),
    EventKind.OPT_OUT: SuppressionWish(SuppressionReason.STOP, is_said=True),
    EventKind.OPT_IN: SuppressionWish(SuppressionReason.STOP, active=False, is_said=True),
}
# SendGrid drops what it would not deliver: the address is on one of its own lists.
_DROPS: Mapping[str, SuppressionWish] = {
    DropReason.BOUNCED_ADDRESS: SuppressionWish(SuppressionReason.BOUNCE),
    DropReason.INVALID: SuppressionWish(SuppressionReason.BOUNCE),
    DropReason.UNSUBSCRIBED_ADDRESS: SuppressionWish(SuppressionReason.UNSUBSCRIBE),
    DropReason.SPAM_REPORTING_ADDRESS: SuppressionWish(SuppressionReason.SPAM_REPORT),
}


def wish_of(kind: EventKind, classification: str | None) -> SuppressionWish | None:
    """What the event says about its address, or None.

    A bounce of SendGrid's type `bounce` is hard whatever its class: SendGrid itself sends nothing more there. One of the type
    `blocked` is soft, unless its class says that there is no such address; soft ones add up (`is_soft`).
    """
    if kind is EventKind.DROPPED:
        return _DROPS.get(classification or "")
    if kind is EventKind.BLOCKED and classification == BounceClass.INVALID_ADDRESS:
        return _SUPPRESSIONS[EventKind.BOUNCE]
    return _SUPPRESSIONS.get(kind)


def is_soft(kind: EventKind, classification: str | None) -> bool:
    """Whether the event is a soft bounce: it says nothing about the address until there are many of them."""
    return kind is EventKind.BLOCKED and classification != BounceClass.INVALID_ADDRESS


_INTS = {kind: int(bits) for kind, bits in BITS.items()}


def bits_of(kind: EventKind) -> Feedback:
    """The bits an event adds to its message; none for events that say nothing about delivery."""
    return BITS.get(kind, Feedback(0))


def int_of(kind: EventKind) -> int:
    """The same as a plain number, which is added up several times faster."""
    return _INTS.get(kind, 0)
