"""Facts that other systems are told of: written with the fact, delivered afterwards."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, delete, exists, func, insert, literal, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.dialect import utc_in, utc_now
from db.errors import Conflict, NotFound
from db.models import OutgoingDelivery, OutgoingEvent, WebhookEndpoint
from db.queries.pages import Page, page_of
from db.states import DeliveryState, EventType

_QUIET = {"synchronize_session": False}
_AT_A_TIME = 1_000


def tell(session: Session, kind: EventType, data: Callable[[], Sequence[Mapping[str, Any]]]) -> int:
    """Write what happened for every endpoint that wants to know; returns how many events.

    In the transaction of the fact: what is rolled back was told nobody, and what is committed is told. Where nobody wants to know,
    it is one short statement, and `data` is not asked for. Each mapping is an event.
    """
    wanting = [
        key
        for key, events in session.execute(
            select(WebhookEndpoint.id, WebhookEndpoint.events).where(WebhookEndpoint.active.is_(True))
        )
        if kind.value in events
    ]
    facts = data() if wanting else ()
    for start in range(0, len(facts), _AT_A_TIME):
        uids = {uuid4().hex: fact for fact in facts[start : start + _AT_A_TIME]}
        session.execute(
            insert(OutgoingEvent),
            [{"uid": f"msg_{uid}", "kind": kind.value, "data": dict(fact)} for uid, fact in uids.items()],
        )
        _fan_out(session, [f"msg_{uid}" for uid in uids], wanting)
    return len(facts)


def tell_one(session: Session, kind: EventType, endpoint_id: int, data: Mapping[str, Any]) -> None:
    """An event for one endpoint only, whatever it wants: to try it out."""
    uid = f"msg_{uuid4().hex}"
    session.execute(insert(OutgoingEvent), [{"uid": uid, "kind": kind.value, "data": dict(data)}])
    _fan_out(session, [uid], [endpoint_id])


def _fan_out(session: Session, uids: Collection[str], endpoint_ids: Collection[int]) -> None:
    pairs = (
        select(OutgoingEvent.id, WebhookEndpoint.id, literal(DeliveryState.PENDING.value))
        .select_from(OutgoingEvent)
        .join(WebhookEndpoint, WebhookEndpoint.id.in_(list(endpoint_ids)))
        .where(OutgoingEvent.uid.in_(list(uids)))
    )
    session.execute(
        insert(OutgoingDelivery).from_select(
            ["event_id", "endpoint_id", "state"], pairs, include_defaults=False
        )
    )


@dataclass(frozen=True)
class Due:
    """A delivery that is ours until its lease is over. `attempt` is the fencing token."""

    id: int
    attempt: int
    endpoint_id: int
    url: str
    secrets: tuple[bytes, ...]
    uid: str
    kind: str
    data: Mapping[str, Any]
    happened_at: datetime


def claim_due(
    session: Session,
    *,
    limit: int,
    share: int,
    lease_seconds: float,
    busy: Mapping[int, int] | None = None,
    leave_out: Collection[int] = (),
) -> Sequence[Due]:
    """Deliveries whose time has come, and which nobody else has; each is tried by one process at a time.

    Up to `limit` in all and `share` for an endpoint, of which `busy` says how many it has already. Those of `leave_out` wait.
    """
    has = busy or {}
    waiting = _due_to(WebhookEndpoint.id).exists()
    endpoint_ids = session.scalars(
        select(WebhookEndpoint.id).where(
            WebhookEndpoint.active.is_(True), WebhookEndpoint.id.not_in(leave_out), waiting
        )
    ).all()
    ids: list[int] = []
    # Those with least under way first, so that none is passed over for as long as others have more to be told.
    for endpoint_id in sorted(endpoint_ids, key=lambda each: has.get(each, 0)):
        room = min(limit - len(ids), share - has.get(endpoint_id, 0))
        if room > 0:
            query = _due_to(endpoint_id).order_by(OutgoingDelivery.due_at, OutgoingDelivery.id).limit(room)
            ids += session.scalars(query.with_for_update(skip_locked=True))
    if not ids:
        return []
    session.execute(
        update(OutgoingDelivery)
        .where(OutgoingDelivery.id.in_(ids))
        .values(attempts=OutgoingDelivery.attempts + 1, due_at=utc_in(lease_seconds))
        .execution_options(**_QUIET)
    )
    is_old_good = WebhookEndpoint.old_secret_until > utc_now()
    rows = session.execute(
        select(OutgoingDelivery, OutgoingEvent, WebhookEndpoint, is_old_good)
        .join(OutgoingEvent, OutgoingEvent.id == OutgoingDelivery.event_id)
        .join(WebhookEndpoint, WebhookEndpoint.id == OutgoingDelivery.endpoint_id)
        .where(OutgoingDelivery.id.in_(ids))
        .execution_options(populate_existing=True)
    )
    return [
        Due(
            id=delivery.id,
            attempt=delivery.attempts,
            endpoint_id=endpoint.id,
            url=endpoint.url,
            secrets=(endpoint.secret, *((endpoint.old_secret,) if has_old and endpoint.old_secret else ())),
            uid=event.uid,
            kind=event.kind,
            data=event.data,
            happened_at=event.created_at,
        )
        for delivery, event, endpoint, has_old in rows
    ]


def _due_to(endpoint_id: int | InstrumentedAttribute[int]) -> Select[tuple[int]]:
    return select(OutgoingDelivery.id).where(
        OutgoingDelivery.endpoint_id == endpoint_id,
        OutgoingDelivery.state == DeliveryState.PENDING,
        OutgoingDelivery.due_at <= utc_now(),
    )


def record_delivery(
    session: Session,
    due: Due,
    *,
    status: int | None,
    error: str | None,
    again_in: float | None,
) -> bool:
    """What came of an attempt; False: somebody else has the delivery by now, and nothing is written.

    `error` None: it was taken. `again_in` None: it is not tried again.
    """
    state = DeliveryState.PENDING
    values: dict[str, Any] = {"status": status, "error": error[:200] if error else None}
    if error is None:
        state, values["delivered_at"] = DeliveryState.DELIVERED, utc_now()
    elif again_in is None:
        state = DeliveryState.FAILED
    else:
        values["due_at"] = utc_in(again_in)
    moved: Any = session.execute(
        update(OutgoingDelivery)
        .where(
            OutgoingDelivery.id == due.id,
            OutgoingDelivery.attempts == due.attempt,
            OutgoingDelivery.state == DeliveryState.PENDING,
        )
        .values(state=state, **values)
        .execution_options(**_QUIET)
    )
    if moved.rowcount:
        failing = None if error is None else func.coalesce(WebhookEndpoint.failing_since, utc_now())
        session.execute(
            update(WebhookEndpoint)
            .where(WebhookEndpoint.id == due.endpoint_id)
            .values(failing_since=failing, updated_at=WebhookEndpoint.updated_at)
            .execution_options(**_QUIET)
        )
    return bool(moved.rowcount)


def disable_endpoint(session: Session, endpoint_id: int, reason: str) -> None:
    """Tell it nothing more until somebody activates it again."""
    session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.id == endpoint_id, WebhookEndpoint.active.is_(True))
        .values(active=False, disabled_reason=reason[:200])
        .execution_options(**_QUIET)
    )


def disable_failing(session: Session, *, after: timedelta) -> Sequence[int]:
    """Endpoints that have failed for so long, without a single success, are told nothing more; returns their ids."""
    ids = session.scalars(
        select(WebhookEndpoint.id).where(
            WebhookEndpoint.active.is_(True), WebhookEndpoint.failing_since < utc_in(-after.total_seconds())
        )
    ).all()
    for endpoint_id in ids:
        disable_endpoint(session, endpoint_id, f"every attempt failed for {after.days} days")
    return ids


def insert_endpoint(
    session: Session, *, url: str, description: str, events: Sequence[str], secret: bytes, created_by: str
) -> WebhookEndpoint:
    row = WebhookEndpoint(
        url=url,
        description=description,
        events=list(events),
        secret=secret,
        active=True,
        created_by=created_by[:120],
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def get_endpoint(session: Session, endpoint_id: int, *, lock: bool = False) -> WebhookEndpoint:
    """Raises NotFound."""
    row = session.get(WebhookEndpoint, endpoint_id, with_for_update=lock or None)
    if row is None:
        raise NotFound("webhook endpoint", endpoint_id)
    return row


def list_endpoints(session: Session, *, after: int, limit: int) -> Page[WebhookEndpoint]:
    return page_of(session, select(WebhookEndpoint), WebhookEndpoint.id, after=after, limit=limit)


def update_endpoint(session: Session, endpoint_id: int, values: Mapping[str, Any]) -> WebhookEndpoint:
    """Change it; one that is made active again is tried anew, and what waited for it goes out."""
    row = get_endpoint(session, endpoint_id, lock=True)
    for name, value in values.items():
        setattr(row, name, value)
    if row.active:
        row.disabled_reason = row.failing_since = None
    session.flush()
    session.refresh(row)
    return row


def rotate_secret(
    session: Session, endpoint_id: int, secret: bytes, *, overlap: timedelta, drop_old: bool = False
) -> WebhookEndpoint:
    """A new secret; what is sent is signed with the old one as well, for a while, unless it is to be dropped at once.

    Raises Conflict while an older one still signs: a receiver that knows only that one would refuse everything.
    """
    row = get_endpoint(session, endpoint_id, lock=True)
    until = row.old_secret_until
    if not drop_old and until is not None and until > session.scalars(select(utc_now())).one():
        raise Conflict(
            f"an older secret signs until {until.isoformat(timespec='seconds')}, which a third would end: "
            "wait, or rotate with drop_old=true"
        )
    row.old_secret, row.secret = None if drop_old else row.secret, secret
    row.old_secret_until = None if drop_old else utc_in(overlap.total_seconds())
    session.flush()
    session.refresh(row)
    return row


def forget_old_secrets(session: Session) -> None:
    """What signs nothing any more is not kept."""
    session.execute(
        update(WebhookEndpoint)
        .where(WebhookEndpoint.old_secret_until < utc_now())
        .values(old_secret=None, old_secret_until=None, updated_at=WebhookEndpoint.updated_at)
        .execution_options(**_QUIET)
    )


def delete_endpoint(session: Session, endpoint_id: int) -> None:
    """Raises NotFound."""
    get_endpoint(session, endpoint_id)
    session.execute(delete(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id))


def list_deliveries(
    session: Session, endpoint_id: int, *, before: int | None, limit: int, state: DeliveryState | None = None
) -> Page[tuple[OutgoingDelivery, OutgoingEvent]]:
    """Newest first; the cursor is the id of the last one."""
    get_endpoint(session, endpoint_id)
    query = (
        select(OutgoingDelivery, OutgoingEvent)
        .join(OutgoingEvent, OutgoingEvent.id == OutgoingDelivery.event_id)
        .where(OutgoingDelivery.endpoint_id == endpoint_id)
    )
    if before is not None:
        query = query.where(OutgoingDelivery.id < before)
    if state is not None:
        query = query.where(OutgoingDelivery.state == state)
    rows = session.execute(query.order_by(OutgoingDelivery.id.desc()).limit(limit + 1)).tuples().all()
    items = rows[:limit]
    return Page(items, items[-1][0].id if len(rows) > limit else None)


def replay_delivery(session: Session, endpoint_id: int, delivery_id: int) -> None:
    """Send it once more, whatever became of it. Raises NotFound."""
    moved: Any = session.execute(
        update(OutgoingDelivery)
        .where(OutgoingDelivery.id == delivery_id, OutgoingDelivery.endpoint_id == endpoint_id)
        .values(_anew())
        .execution_options(**_QUIET)
    )
    if not moved.rowcount:
        raise NotFound("delivery", delivery_id)


def replay_since(session: Session, endpoint_id: int, since: datetime, *, state: DeliveryState | None) -> int:
    """Send all of this time once more, or only what failed; returns how many."""
    get_endpoint(session, endpoint_id)
    query = update(OutgoingDelivery).where(
        OutgoingDelivery.endpoint_id == endpoint_id,
        OutgoingDelivery.created_at >= since,
        OutgoingDelivery.state != DeliveryState.PENDING,
    )
    if state is not None:
        query = query.where(OutgoingDelivery.state == state)
    moved: Any = session.execute(query.values(_anew()).execution_options(**_QUIET))
    return int(moved.rowcount)


def _anew() -> dict[str, Any]:
    return {"state": DeliveryState.PENDING, "attempts": 0, "due_at": utc_now(), "delivered_at": None}


def delete_old_events(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Forget events of that age which nobody still has to be told; their deliveries go with them. Returns how many."""
    ids = session.scalars(
        select(OutgoingEvent.id)
        .where(
            OutgoingEvent.created_at < utc_in(-older_than.total_seconds()),
            ~exists().where(
                OutgoingDelivery.event_id == OutgoingEvent.id,
                OutgoingDelivery.state == DeliveryState.PENDING,
                OutgoingDelivery.endpoint_id == WebhookEndpoint.id,
                WebhookEndpoint.active.is_(True),
            ),
        )
        .order_by(OutgoingEvent.created_at)
        .limit(limit)
    ).all()
    session.execute(delete(OutgoingEvent).where(OutgoingEvent.id.in_(ids)).execution_options(**_QUIET))
    return len(ids)
