"""Webhooks as they were stored, and events in them that could not be applied: seen, and tried again."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, OptionalId, PageDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.webhook_events import DeliveryOut, ReplayedOut, WebhookEventDetail, WebhookEventOut
from db.queries import webhook_events, webhooks
from db.states import InboxState, WebhookEventState, WebhookProblem
from tasks.feedback.replaying import quote_event, replay_delivery, replay_event, replay_open

router = APIRouter(prefix="/api", tags=["webhook events"])
OptionalProblem = Annotated[WebhookProblem | None, Query()]


@router.get("/webhook-events", dependencies=[needs(Ability.WEBHOOKS_READ)])
def list_webhook_events(
    database: DatabaseDep,
    page: PageDep,
    state: Annotated[WebhookEventState | None, Query()] = None,
    problem: OptionalProblem = None,
    delivery_id: OptionalId = None,
) -> PageOut[WebhookEventOut]:
    """Events that could not be applied when they came, in the order in which they came."""
    with database.reading() as session:
        return PageOut[WebhookEventOut].of(
            webhook_events.list_webhook_events(
                session,
                after=page.cursor,
                limit=page.limit,
                state=state,
                problem=problem,
                delivery_id=delivery_id,
            )
        )


@router.post("/webhook-events/replay", dependencies=[needs(Ability.WEBHOOKS_REPLAY)])
def replay_webhook_events(
    database: DatabaseDep, caller: CurrentCaller, page: PageDep, problem: OptionalProblem = None
) -> ReplayedOut:
    """Try the open ones again, up to `limit` of them; go on with `next_cursor`."""
    found = replay_open(database, by=caller.name, after=page.cursor, limit=page.limit, problem=problem)
    return ReplayedOut.model_validate(found)


@router.get(
    "/webhook-events/{event_id}", responses=responses(404), dependencies=[needs(Ability.WEBHOOKS_READ)]
)
def get_webhook_event(database: DatabaseDep, event_id: ItemId) -> WebhookEventDetail:
    """One of them, with what the provider wrote."""
    with database.reading() as session:
        event = webhook_events.get_webhook_event(session, event_id)
    out = WebhookEventOut.model_validate(event)
    return WebhookEventDetail(**out.model_dump(), said=quote_event(database, event))


@router.post(
    "/webhook-events/{event_id}/replay",
    responses=responses(404),
    dependencies=[needs(Ability.WEBHOOKS_REPLAY)],
)
def replay_webhook_event(database: DatabaseDep, caller: CurrentCaller, event_id: ItemId) -> WebhookEventOut:
    """Read it again from its webhook, and apply it. One that is applied already stays as it is."""
    replay_event(database, event_id, by=caller.name)
    with database.reading() as session:
        return WebhookEventOut.model_validate(webhook_events.get_webhook_event(session, event_id))


@router.get("/webhook-deliveries", dependencies=[needs(Ability.WEBHOOKS_READ)])
def list_deliveries(
    database: DatabaseDep, page: PageDep, state: Annotated[InboxState | None, Query()] = None
) -> PageOut[DeliveryOut]:
    """Webhooks of the inbox, oldest first, without their bodies."""
    with database.reading() as session:
        return PageOut[DeliveryOut].of(
            webhooks.page_of_deliveries(session, after=page.cursor, limit=page.limit, state=state)
        )


@router.get(
    "/webhook-deliveries/{delivery_id}", responses=responses(404), dependencies=[needs(Ability.WEBHOOKS_READ)]
)
def get_delivery(database: DatabaseDep, delivery_id: ItemId) -> DeliveryOut:
    with database.reading() as session:
        return DeliveryOut.model_validate(webhooks.get_delivery(session, delivery_id))


@router.post(
    "/webhook-deliveries/{delivery_id}/replay",
    responses=responses(404),
    dependencies=[needs(Ability.WEBHOOKS_REPLAY)],
)
def replay_stored_delivery(database: DatabaseDep, caller: CurrentCaller, delivery_id: ItemId) -> DeliveryOut:
    """Apply a stored webhook once more, as it is understood now. What of it is applied already is not counted again."""
    replay_delivery(database, delivery_id, by=caller.name)
    with database.reading() as session:
        return DeliveryOut.model_validate(webhooks.get_delivery(session, delivery_id))
