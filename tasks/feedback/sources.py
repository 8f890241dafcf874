"""The webhooks we have, and how the body of each becomes events. Pure."""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from tasks.providers import sendgrid_events, sendmode_events
from tasks.providers.events import BadEvent, ProviderEvent


class Source(StrEnum):
    """Stored with each webhook in the inbox; says which parser reads it."""

    SENDGRID = "sendgrid"
    SENDMODE_DELIVERY = "sendmode_delivery"
    SENDMODE_REPLY = "sendmode_reply"


def parse(
    source: Source, body: bytes, content_type: str, query: str, received_at: datetime
) -> Sequence[ProviderEvent | BadEvent]:
    """Events of a raw webhook; what cannot be read comes as BadEvent with the reason, in its place."""
    if source is Source.SENDGRID:
        return sendgrid_events.parse_events(body)
    if source is Source.SENDMODE_DELIVERY:
        return sendmode_events.parse_delivery(body, content_type, query, received_at)
    return sendmode_events.parse_reply(body, content_type, query, received_at)
