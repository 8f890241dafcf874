"""Soft bounces of addresses: what they add up to is decided in `tasks/feedback/suppressing.py`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Event, Message, Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.reasons import BounceClass
from db.states import Channel, SuppressionReason


class SoftBounce(NamedTuple):
    """That a message could not be delivered now."""

    address: str
    at: datetime
    message_id: int


def list_soft_bounces(session: Session, client_ids: Collection[int]) -> Sequence[SoftBounce]:
    """The stored ones of these clients, along the index of a client's events; the addresses are those the messages went to."""
    if not client_ids:
        return []
    rows = session.execute(
        select(Message.address, Event.occurred_at, Message.id)
        .join(Message, Message.id == Event.message_id)
        .where(
            Event.client_id.in_(list(client_ids)),
            Event.kind == "blocked",
            Event.classification != BounceClass.INVALID_ADDRESS.value,
        )
    )
    return [SoftBounce(address, at, message_id) for address, at, message_id in rows if address is not None]


def list_lifted(session: Session, addresses: Collection[str]) -> Mapping[str, datetime]:
    """Since when the suppression for soft bounces is lifted, of those of the addresses where it is."""
    if not addresses:
        return {}
    rows = session.execute(
        select(Unsubscribed.address, Unsubscribed.effective_at).where(
            Unsubscribed.channel == Channel.EMAIL,
            Unsubscribed.address.in_(list(addresses)),
            Unsubscribed.scope == EVERYWHERE,
            Unsubscribed.reason == SuppressionReason.SOFT_BOUNCES,
            Unsubscribed.active.is_(False),
        )
    )
    return dict(rows.tuples().all())
