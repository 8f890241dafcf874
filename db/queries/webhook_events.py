"""Events that could not be applied: kept with the reason, looked at, and tried again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, utc_in, utc_now
from db.errors import NotFound
from db.models import WebhookEvent
from db.queries.pages import Page, page_of
from db.states import WebhookEventState, WebhookProblem

_TABLE = WebhookEvent.metadata.tables[WebhookEvent.__tablename__]
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True, slots=True)
class Unapplied:
    """An event that was not applied, and why. Without what it says: that stays in its webhook."""

    fingerprint: bytes
    delivery_id: int
    source: str
    kind: str | None
    problem: WebhookProblem
    reason: str
    reference: str | None
    occurred_at: datetime | None


def insert_unapplied(session: Session, events: Collection[Unapplied]) -> None:
    """Keep them; of one that is kept already, only that it was tried again."""
    if not events:
        return
    session.execute(
        insert_ignore(_TABLE),
        [
            {
                "fingerprint": each.fingerprint,
                "delivery_id": each.delivery_id,
                "source": each.source,
                "kind": each.kind,
                "problem": each.problem,
                "reason": each.reason[:2000],
                "reference": each.reference[:40] if each.reference else None,
                "occurred_at": each.occurred_at,
                "state": WebhookEventState.OPEN,
                "attempts": 0,
            }
            for each in events
        ],
    )
    session.execute(
        update(WebhookEvent)
        .where(WebhookEvent.fingerprint.in_([each.fingerprint for each in events]))
        .values(attempts=WebhookEvent.attempts + 1, tried_at=utc_now())
        .execution_options(**_QUIET)
    )


def close_applied(session: Session, fingerprints: Collection[bytes]) -> None:
    """Events that are applied now, where one of them was kept."""
    if not fingerprints:
        return
    session.execute(
        update(WebhookEvent)
        .where(
            WebhookEvent.fingerprint.in_(list(fingerprints)),
            WebhookEvent.state != WebhookEventState.APPLIED,
        )
        .values(state=WebhookEventState.APPLIED, tried_at=utc_now())
        .execution_options(**_QUIET)
    )


def has_open(session: Session) -> bool:
    """Whether any event waits: a look into an index."""
    query = select(WebhookEvent.id).where(WebhookEvent.state == WebhookEventState.OPEN).limit(1)
    return session.scalars(query).first() is not None


def get_webhook_event(session: Session, event_id: int, *, lock: bool = False) -> WebhookEvent:
    """Raises NotFound."""
    found = session.get(WebhookEvent, event_id, with_for_update=lock or None, populate_existing=True)
    if found is None:
        raise NotFound("webhook event", event_id)
    return found


def list_webhook_events(
    session: Session,
    *,
    after: int,
    limit: int,
    state: WebhookEventState | None = None,
    problem: WebhookProblem | None = None,
    delivery_id: int | None = None,
) -> Page[WebhookEvent]:
    """In the order in which they came."""
    query = select(WebhookEvent)
    if state is not None:
        query = query.where(WebhookEvent.state == state)
    if problem is not None:
        query = query.where(WebhookEvent.problem == problem)
    if delivery_id is not None:
        query = query.where(WebhookEvent.delivery_id == delivery_id)
    return page_of(session, query, WebhookEvent.id, after=after, limit=limit)


def list_due(session: Session, *, after: int, limit: int, younger_than: timedelta) -> Sequence[int]:
    """Ids of open events whose message may still turn up, or that may be applied when what failed is repaired."""
    return session.scalars(
        select(WebhookEvent.id)
        .where(
            WebhookEvent.state == WebhookEventState.OPEN,
            WebhookEvent.id > after,
            WebhookEvent.problem != WebhookProblem.UNREADABLE,
            WebhookEvent.created_at > utc_in(-younger_than.total_seconds()),
        )
        .order_by(WebhookEvent.id)
        .limit(limit)
    ).all()


def note_replay(
    session: Session,
    event_id: int,
    *,
    by: str | None,
    state: WebhookEventState | None = None,
    problem: WebhookProblem | None = None,
    reason: str | None = None,
) -> WebhookEventState:
    """That it was tried again, by whom, and what came of it; returns its state now."""
    event = get_webhook_event(session, event_id, lock=True)
    if event.state is WebhookEventState.OPEN:
        event.state = state or event.state
        event.problem = problem or event.problem
        event.reason = reason or event.reason
    event.replayed_by = by or event.replayed_by
    session.flush()
    return event.state
