"""What providers say about bounces and drops, in words that can be counted. Pure.

Sources: Twilio SendGrid, "Bounce and Block Classifications" (seven classes) and "Event Webhook Reference" (dropped).
"""

import re
from enum import StrEnum


class BounceClass(StrEnum):
    """SendGrid's classes of bounces and blocks."""

    INVALID_ADDRESS = "invalid_address"
    MAILBOX_UNAVAILABLE = "mailbox_unavailable"
    TECHNICAL = "technical"
    CONTENT = "content"
    REPUTATION = "reputation"
    FREQUENCY_OR_VOLUME = "frequency_or_volume_too_high"
    UNCLASSIFIED = "unclassified"


class DropReason(StrEnum):
    """Why SendGrid did not even try."""

    BOUNCED_ADDRESS = "bounced_address"
    UNSUBSCRIBED_ADDRESS = "unsubscribed_address"
    SPAM_REPORTING_ADDRESS = "spam_reporting_address"
    INVALID = "invalid"
    SPAM_CONTENT = "spam_content"
    OVER_QUOTA = "over_quota"
    OTHER = "other"


_CLASSES = {each.value for each in BounceClass}
_REASONS = {each.value for each in DropReason}
# The two that SendGrid says in more words.
_LONGER = {
    "spam_content_if_spam_checker_app_enabled": DropReason.SPAM_CONTENT,
    "recipient_list_over_package_quota": DropReason.OVER_QUOTA,
}
_OTHER_CHARACTERS = re.compile(r"[^a-z0-9]+")


def bounce_class(text: str | None) -> BounceClass:
    """`Frequency or Volume Too High` -> `frequency_or_volume_too_high`; what is no class is unclassified."""
    word = _word(text)
    return BounceClass(word) if word in _CLASSES else BounceClass.UNCLASSIFIED


def drop_reason(text: str | None) -> DropReason:
    """`Bounced Address` -> `bounced_address`; what is no reason that SendGrid documents is other."""
    word = _word(text)
    return DropReason(word) if word in _REASONS else _LONGER.get(word, DropReason.OTHER)


def _word(text: str | None) -> str:
    return _OTHER_CHARACTERS.sub("_", (text or "").lower()).strip("_")
