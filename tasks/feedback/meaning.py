"""What an event of a provider means for the ledger and for suppressions. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

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
    """What an event says about its address: suppress it for this reason, or lift what the reason suppressed."""

    reason: SuppressionReason
    active: bool


SUPPRESSIONS: Mapping[EventKind, SuppressionWish] = {
    EventKind.BOUNCE: SuppressionWish(SuppressionReason.BOUNCE, True),
    EventKind.SPAM_REPORT: SuppressionWish(SuppressionReason.SPAM_REPORT, True),
    EventKind.UNSUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, True),
    EventKind.GROUP_UNSUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, True),
    EventKind.GROUP_RESUBSCRIBE: SuppressionWish(SuppressionReason.UNSUBSCRIBE, False),
    EventKind.OPT_OUT: SuppressionWish(SuppressionReason.STOP, True),
    EventKind.OPT_IN: SuppressionWish(SuppressionReason.STOP, False),
}


def bits_of(kind: EventKind) -> Feedback:
    """The bits an event adds to its message; none for events that say nothing about delivery."""
    return BITS.get(kind, Feedback(0))
