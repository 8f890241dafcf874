"""Other systems that are told what happens here, by signed webhooks."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import responses
from api.schemas.base import Moment, PageOut
from api.schemas.webhook_endpoints import (
    EndpointIn,
    EndpointOut,
    EndpointPatch,
    NewEndpointOut,
    OutgoingDeliveryOut,
    ReplayedDeliveriesOut,
)
from db.engine import Session
from db.errors import Conflict
from db.queries import outgoing
from db.states import DeliveryState, EventType
from tasks.outgoing.addresses import check_url
from tasks.outgoing.signatures import lock_secret, new_secret
from tasks.signing import secret_key

router = APIRouter(prefix="/api/webhook-endpoints", tags=["webhook endpoints"])
OVERLAP = timedelta(hours=24)
"""So long what is sent is signed with the old secret too."""


@router.post("", status_code=201, dependencies=[needs(Ability.ENDPOINTS_WRITE)])
def create_endpoint(
    database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, body: EndpointIn
) -> NewEndpointOut:
    """Have another system told. Its secret is in this answer and in no other."""
    check_url(body.url, allow_private=settings.webhook_allow_private)
    secret = new_secret()
    row = database.run(
        lambda s: outgoing.insert_endpoint(
            s,
            url=body.url,
            description=body.description,
            events=sorted({each.value for each in body.events}),
            secret=lock_secret(secret_key(settings), secret),
            created_by=caller.name,
        )
    )
    return NewEndpointOut.showing(row, secret)


@router.get("", dependencies=[needs(Ability.ENDPOINTS_READ)])
def list_endpoints(database: DatabaseDep, page: PageDep) -> PageOut[EndpointOut]:
    with database.reading() as session:
        return PageOut[EndpointOut].of(outgoing.list_endpoints(session, after=page.cursor, limit=page.limit))


@router.get("/{endpoint_id}", responses=responses(404), dependencies=[needs(Ability.ENDPOINTS_READ)])
def get_endpoint(database: DatabaseDep, endpoint_id: ItemId) -> EndpointOut:
    with database.reading() as session:
        return EndpointOut.model_validate(outgoing.get_endpoint(session, endpoint_id))


@router.patch("/{endpoint_id}", responses=responses(404), dependencies=[needs(Ability.ENDPOINTS_WRITE)])
def update_endpoint(
    database: DatabaseDep, settings: SettingsDep, endpoint_id: ItemId, body: EndpointPatch
) -> EndpointOut:
    """Change where it is, what it wants, or whether it is told at all."""
    values = body.model_dump(exclude_unset=True)
    if "url" in values:
        check_url(body.url, allow_private=settings.webhook_allow_private)
    if "events" in values:
        values["events"] = sorted({each.value for each in body.events})
    return EndpointOut.model_validate(
        database.run(lambda s: outgoing.update_endpoint(s, endpoint_id, values))
    )


@router.delete(
    "/{endpoint_id}", status_code=204, responses=responses(404), dependencies=[needs(Ability.ENDPOINTS_WRITE)]
)
def delete_endpoint(database: DatabaseDep, endpoint_id: ItemId) -> None:
    """Tell it nothing more, and forget what it was told."""
    database.run(lambda s: outgoing.delete_endpoint(s, endpoint_id))


@router.post(
    "/{endpoint_id}/rotate-secret",
    responses=responses(404, 409),
    dependencies=[needs(Ability.ENDPOINTS_WRITE)],
)
def rotate_secret(
    database: DatabaseDep,
    settings: SettingsDep,
    endpoint_id: ItemId,
    drop_old: Annotated[bool, Query(description="Sign with no old secret any more, from now on.")] = False,
) -> NewEndpointOut:
    """A new secret. For 24 hours requests carry a signature of the old one as well; a second rotation waits for their end."""
    secret = new_secret()
    locked = lock_secret(secret_key(settings), secret)
    row = database.run(
        lambda s: outgoing.rotate_secret(s, endpoint_id, locked, overlap=OVERLAP, drop_old=drop_old)
    )
    return NewEndpointOut.showing(row, secret)


@router.post(
    "/{endpoint_id}/test",
    status_code=202,
    responses=responses(404, 409),
    dependencies=[needs(Ability.ENDPOINTS_WRITE)],
)
def test_endpoint(database: DatabaseDep, endpoint_id: ItemId) -> EndpointOut:
    """Send it a `ping` with the next round."""

    def work(session: Session) -> EndpointOut:
        found = EndpointOut.model_validate(outgoing.get_endpoint(session, endpoint_id))
        if not found.active:
            raise Conflict("it is told nothing: activate it first", "active")
        outgoing.tell_one(session, EventType.PING, endpoint_id, {"endpoint_id": endpoint_id})
        return found

    return database.run(work)


@router.get(
    "/{endpoint_id}/deliveries", responses=responses(404), dependencies=[needs(Ability.ENDPOINTS_READ)]
)
def list_endpoint_deliveries(
    database: DatabaseDep,
    endpoint_id: ItemId,
    page: PageDep,
    state: Annotated[DeliveryState | None, Query()] = None,
) -> PageOut[OutgoingDeliveryOut]:
    """What it was told, newest first, and what came of it."""
    with database.reading() as session:
        found = outgoing.list_deliveries(
            session, endpoint_id, before=page.cursor or None, limit=page.limit, state=state
        )
    items = [OutgoingDeliveryOut.of(*each) for each in found.items]
    return PageOut[OutgoingDeliveryOut](items=items, next_cursor=found.next_cursor)


@router.post(
    "/{endpoint_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    responses=responses(404),
    dependencies=[needs(Ability.ENDPOINTS_WRITE)],
)
def replay_endpoint_delivery(
    database: DatabaseDep, endpoint_id: ItemId, delivery_id: ItemId
) -> ReplayedDeliveriesOut:
    """Send it once more, with the same id."""
    database.run(lambda s: outgoing.replay_delivery(s, endpoint_id, delivery_id))
    return ReplayedDeliveriesOut(replayed=1)


@router.post(
    "/{endpoint_id}/replay",
    status_code=202,
    responses=responses(404),
    dependencies=[needs(Ability.ENDPOINTS_WRITE)],
)
def replay_endpoint_deliveries(
    database: DatabaseDep,
    endpoint_id: ItemId,
    since: Annotated[Moment, Query(description="What was told from this moment on.")],
    state: Annotated[DeliveryState | None, Query(description="failed: only what was given up.")] = None,
) -> ReplayedDeliveriesOut:
    """Send all of a time once more, with the same ids: after an outage of the other side."""
    replayed = database.run(lambda s: outgoing.replay_since(s, endpoint_id, since, state=state))
    return ReplayedDeliveriesOut(replayed=replayed)
