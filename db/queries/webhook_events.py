"""Events that could not be applied: kept with the reason, looked at, and tried again."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, utc_in, utc_now
from db.errors import NotFound
from db.models import WebhookEvent
from db.queries.pages import Page, page_of
from db.states import WebhookEventState, WebhookProblem

_TABLE = WebhookEvent.metadata.tables[WebhookEvent.__tablename__]
_QUIET = {"synchronize_session": False}
_AT_A_TIME = 1_000
_EAGER_ATTEMPTS = 3
_PAUSE_SECONDS = 75


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
    """Keep them; of one that is kept already, that it was tried again and why in vain."""
    for some in _pieces(list(events)):
        session.execute(insert_ignore(_TABLE), [_values(each) for each in some])
        # What the webhook of an older copy said is gone; here it is again.
        for each in _list_gone(session, some):
            _update(
                session,
                [each.fingerprint],
                WebhookEventState.GONE,
                state=WebhookEventState.OPEN,
                delivery_id=each.delivery_id,
            )
        by_problem: dict[tuple[WebhookProblem, str], list[bytes]] = {}
        for each in some:
            by_problem.setdefault((each.problem, each.reason[:2000]), []).append(each.fingerprint)
        for (problem, reason), fingerprints in by_problem.items():
            _update(
                session,
                fingerprints,
                WebhookEventState.OPEN,
                problem=problem,
                reason=reason,
                attempts=WebhookEvent.attempts + 1,
                tried_at=utc_now(),
            )


def _values(each: Unapplied) -> dict[str, Any]:
    return {
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


def _pieces(events: Sequence[Unapplied]) -> Iterator[Sequence[Unapplied]]:
    for start in range(0, len(events), _AT_A_TIME):
        yield events[start : start + _AT_A_TIME]


def _list_gone(session: Session, events: Sequence[Unapplied]) -> list[Unapplied]:
    gone = set(
        session.scalars(
            select(WebhookEvent.fingerprint).where(
                WebhookEvent.fingerprint.in_([each.fingerprint for each in events]),
                WebhookEvent.state == WebhookEventState.GONE,
            )
        )
    )
    return [each for each in events if each.fingerprint in gone]


def _update(
    session: Session, fingerprints: Collection[bytes], state_now: WebhookEventState, **values: Any
) -> None:
    session.execute(
        update(WebhookEvent)
        .where(WebhookEvent.fingerprint.in_(list(fingerprints)), WebhookEvent.state == state_now)
        .values(values)
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


def list_due(session: Session, *, after: int, limit: int, younger_than: timedelta) -> Sequence[WebhookEvent]:
    """Open events whose message may still turn up, or that may be applied when what failed is repaired.

    After a few attempts the pauses between them grow, to 8 hours after 20, so that events nobody will ever want do not
    keep the others waiting.
    """
    pause = _PAUSE_SECONDS * (WebhookEvent.attempts * WebhookEvent.attempts - _EAGER_ATTEMPTS**2)
    return session.scalars(
        select(WebhookEvent)
        .where(
            WebhookEvent.state == WebhookEventState.OPEN,
            WebhookEvent.id > after,
            WebhookEvent.problem != WebhookProblem.UNREADABLE,
            WebhookEvent.created_at > utc_in(-younger_than.total_seconds()),
            WebhookEvent.tried_at <= utc_in(-pause),
        )
        .order_by(WebhookEvent.id)
        .limit(limit)
    ).all()


def note_replay(session: Session, event_ids: Collection[int], *, by: str) -> None:
    """Who had these tried again."""
    session.execute(
        update(WebhookEvent)
        .where(WebhookEvent.id.in_(list(event_ids)))
        .values(replayed_by=by, tried_at=utc_now())
        .execution_options(**_QUIET)
    )


def close_events(session: Session, event_ids: Collection[int], state: WebhookEventState) -> None:
    """Open events that are applied, or gone."""
    session.execute(
        update(WebhookEvent)
        .where(WebhookEvent.id.in_(list(event_ids)), WebhookEvent.state == WebhookEventState.OPEN)
        .values(state=state, tried_at=utc_now())
        .execution_options(**_QUIET)
    )


def count_states(session: Session, event_ids: Collection[int]) -> dict[WebhookEventState, int]:
    """How many of these events are in which state."""
    rows = session.execute(
        select(WebhookEvent.state, func.count())
        .where(WebhookEvent.id.in_(list(event_ids)))
        .group_by(WebhookEvent.state)
    )
    return dict(rows.tuples().all())


def give_up_unmatched(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Events whose message did not turn up in so long a time, as of another installation, are waited for no more; returns how many."""
    ids = session.scalars(
        select(WebhookEvent.id)
        .where(
            WebhookEvent.state == WebhookEventState.OPEN,
            WebhookEvent.problem == WebhookProblem.UNMATCHED,
            WebhookEvent.created_at < utc_in(-older_than.total_seconds()),
        )
        .order_by(WebhookEvent.id)
        .limit(limit)
    ).all()
    close_events(session, ids, WebhookEventState.GONE)
    return len(ids)


def delete_closed(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Forget events that were applied or given up so long ago; returns how many."""
    ids = session.scalars(
        select(WebhookEvent.id)
        .where(
            WebhookEvent.state.in_([WebhookEventState.APPLIED, WebhookEventState.GONE]),
            WebhookEvent.tried_at < utc_in(-older_than.total_seconds()),
        )
        .order_by(WebhookEvent.id)
        .limit(limit)
    ).all()
    session.execute(delete(WebhookEvent).where(WebhookEvent.id.in_(ids)).execution_options(**_QUIET))
    return len(ids)
