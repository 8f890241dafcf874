"""The inbox of verified webhooks: committed before they are acknowledged, applied exactly once."""

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.models import WebhookDelivery
from db.states import InboxState


def insert_delivery(
    session: Session, *, source: str, body: bytes, content_type: str = "", query: str = ""
) -> int:
    """Store the raw bytes; returns the id. The caller commits before it answers the provider."""
    delivery = WebhookDelivery(source=source, body=body, content_type=content_type[:100], query=query)
    session.add(delivery)
    session.flush()
    return delivery.id


def claim_deliveries(session: Session, delivery_ids: Sequence[int]) -> Sequence[WebhookDelivery]:
    """Lock those of the deliveries that were not applied yet and that nobody else is applying, oldest first."""
    return session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids), WebhookDelivery.state != InboxState.APPLIED)
        .order_by(WebhookDelivery.id)
        .with_for_update(skip_locked=True)
    ).all()


def mark_applied(session: Session, delivery_ids: Sequence[int]) -> None:
    """The events of these deliveries are in the ledger."""
    _mark(session, delivery_ids, InboxState.APPLIED, None)


def mark_failed(session: Session, delivery_id: int, error: str) -> None:
    """Keep the delivery with the reason; it is tried again by the scheduled flow."""
    _mark(session, [delivery_id], InboxState.FAILED, error[:2000])


def list_unapplied(
    session: Session, state: InboxState, *, limit: int, max_attempts: int = 20
) -> Sequence[int]:
    """Ids of deliveries in a state (received: not tried yet; failed: to be tried again), oldest first."""
    return session.scalars(
        select(WebhookDelivery.id)
        .where(WebhookDelivery.state == state, WebhookDelivery.attempts < max_attempts)
        .order_by(WebhookDelivery.id)
        .limit(limit)
    ).all()


def count_unapplied(session: Session) -> int:
    return session.scalars(
        select(func.count()).select_from(WebhookDelivery).where(WebhookDelivery.state != InboxState.APPLIED)
    ).one()


def _mark(session: Session, delivery_ids: Sequence[int], state: InboxState, error: str | None) -> None:
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids))
        .values(
            state=state,
            error=error,
            attempts=WebhookDelivery.attempts + 1,
            applied_at=utc_now() if state is InboxState.APPLIED else None,
        )
        .execution_options(synchronize_session=False)
    )
