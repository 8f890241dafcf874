"""The inbox of verified webhooks: committed before they are acknowledged, applied exactly once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session, defer

from db.dialect import utc_in, utc_now
from db.errors import NotFound
from db.models import WebhookDelivery, WebhookEvent
from db.queries.pages import Page, page_of
from db.queries.transitions import rowcount
from db.states import InboxState, WebhookEventState

_QUIET = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A verified POST (or GET) as it came in."""

    source: str
    body: bytes
    content_type: str = ""
    query: str = ""


def insert_deliveries(session: Session, deliveries: Sequence[NewDelivery]) -> None:
    """Store the raw bytes. The caller commits before it answers the providers."""
    session.execute(
        insert(WebhookDelivery),
        [
            {
                "source": each.source,
                "body": each.body,
                "content_type": each.content_type[:100],
                "query": each.query,
                "size": len(each.body),
                "state": InboxState.RECEIVED,
                "attempts": 0,
            }
            for each in deliveries
        ],
    )


def insert_delivery(
    session: Session, *, source: str, body: bytes, content_type: str = "", query: str = ""
) -> int:
    """Store one; returns its id."""
    delivery = WebhookDelivery(
        source=source, body=body, content_type=content_type[:100], query=query, size=len(body)
    )
    session.add(delivery)
    session.flush()
    return delivery.id


def list_deliveries(session: Session, delivery_ids: Sequence[int]) -> Sequence[WebhookDelivery]:
    """Those of the deliveries that were not applied yet, oldest first."""
    return session.scalars(
        select(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids), WebhookDelivery.state != InboxState.APPLIED)
        .order_by(WebhookDelivery.id)
    ).all()


def claim_deliveries(session: Session, delivery_ids: Sequence[int]) -> set[int]:
    """Lock those of the deliveries that were not applied yet and that nobody else is applying; returns their ids."""
    return set(
        session.scalars(
            select(WebhookDelivery.id)
            .where(WebhookDelivery.id.in_(delivery_ids), WebhookDelivery.state != InboxState.APPLIED)
            .order_by(WebhookDelivery.id)
            .with_for_update(skip_locked=True)
        )
    )


def mark_applied(session: Session, delivery_ids: Collection[int]) -> None:
    """The events of these deliveries are in the ledger."""
    _mark(session, delivery_ids, InboxState.APPLIED, None)


def mark_failed(session: Session, delivery_id: int, error: str) -> None:
    """Keep the delivery with the reason; it is tried again by the scheduled flow."""
    _mark(session, [delivery_id], InboxState.FAILED, error[:2000])


def list_unapplied(
    session: Session,
    state: InboxState,
    *,
    limit: int,
    most_bytes: int,
    without: Collection[int] = (),
    max_attempts: int = 20,
) -> list[int]:
    """Ids of deliveries in a state (received: not tried yet; failed: to be tried again), oldest first.

    As many as have `most_bytes` together, and one at least.
    """
    query = select(WebhookDelivery.id, WebhookDelivery.size).where(
        WebhookDelivery.state == state, WebhookDelivery.attempts < max_attempts
    )
    if without:
        query = query.where(WebhookDelivery.id.not_in(list(without)))
    found: list[int] = []
    size = 0
    for delivery_id, bytes_ in session.execute(query.order_by(WebhookDelivery.id).limit(limit)):
        size += bytes_
        if found and size > most_bytes:
            break
        found.append(delivery_id)
    return found


def get_delivery(session: Session, delivery_id: int, *, with_body: bool = False) -> WebhookDelivery:
    """Raises NotFound."""
    query = select(WebhookDelivery).where(WebhookDelivery.id == delivery_id)
    found = session.scalars(query if with_body else query.options(defer(WebhookDelivery.body))).one_or_none()
    if found is None:
        raise NotFound("webhook delivery", delivery_id)
    return found


def page_of_deliveries(
    session: Session, *, after: int, limit: int, state: InboxState | None = None
) -> Page[WebhookDelivery]:
    """Without their bodies, which may be a megabyte each."""
    query = select(WebhookDelivery).options(defer(WebhookDelivery.body))
    if state is not None:
        query = query.where(WebhookDelivery.state == state)
    return page_of(session, query, WebhookDelivery.id, after=after, limit=limit)


def count_unapplied(session: Session) -> int:
    # Named and not excluded: the index is read where they are, and not past all that were applied.
    waiting = WebhookDelivery.state.in_([InboxState.RECEIVED, InboxState.FAILED])
    return session.scalars(select(func.count()).select_from(WebhookDelivery).where(waiting)).one()


def delete_old_deliveries(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Forget the raw bytes of webhooks that were applied so long ago, but for those of events that were not; returns how many."""
    is_needed = exists().where(
        WebhookEvent.delivery_id == WebhookDelivery.id,
        WebhookEvent.state == WebhookEventState.OPEN,
    )
    ids = session.scalars(
        select(WebhookDelivery.id)
        .where(
            WebhookDelivery.state == InboxState.APPLIED,
            WebhookDelivery.received_at < utc_in(-older_than.total_seconds()),
            ~is_needed,
        )
        .order_by(WebhookDelivery.id)
        .limit(limit)
    ).all()
    if not ids:
        return 0
    return rowcount(
        session.execute(
            delete(WebhookDelivery).where(WebhookDelivery.id.in_(ids)).execution_options(**_QUIET)
        )
    )


def _mark(session: Session, delivery_ids: Collection[int], state: InboxState, error: str | None) -> None:
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(list(delivery_ids)))
        .values(
            state=state,
            error=error,
            attempts=WebhookDelivery.attempts + 1,
            applied_at=utc_now() if state is InboxState.APPLIED else None,
        )
        .execution_options(**_QUIET)
    )
