"""Soft bounces of a client: what they add up to is decided in `tasks/feedback/suppressing.py`."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Event
from db.reasons import BounceClass


def list_soft_bounces(session: Session, client_ids: Collection[int]) -> list[tuple[int, int, datetime]]:
    """(client, message, moment) of the stored ones, along the index of a client's events."""
    if not client_ids:
        return []
    rows = session.execute(
        select(Event.client_id, Event.message_id, Event.occurred_at).where(
            Event.client_id.in_(list(client_ids)),
            Event.kind == "blocked",
            Event.classification != BounceClass.INVALID_ADDRESS.value,
        )
    )
    return [
        (client_id, message_id, at)
        for client_id, message_id, at in rows
        if client_id is not None and message_id is not None
    ]
