"""Other systems that are told what happens here."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from api.schemas.base import ONE_LINE, Input, Output
from db.models import OutgoingDelivery, OutgoingEvent, WebhookEndpoint
from db.states import DeliveryState, EventType

Url = Annotated[
    str, Field(min_length=9, max_length=500, examples=["https://crm.example.com/hooks/ics"]), ONE_LINE
]
Events = Annotated[
    list[EventType], Field(min_length=1, max_length=10, examples=[["execution.completed", "message.bounced"]])
]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), ONE_LINE]


class EndpointIn(Input):
    url: Url
    events: Events
    description: Description = ""


class EndpointPatch(EndpointIn):
    """The fields to change; those left out stay as they are. `active` true lets a disabled one try again."""

    url: Url = ""
    events: Events = []
    active: bool = True


class EndpointOut(Output):
    """`disabled_reason` says why it is told nothing any more; `failing_since` when the last success was followed by a failure."""

    id: int
    url: str
    description: str
    events: list[EventType]
    active: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_by: str
    created_at: datetime
    updated_at: datetime


class NewEndpointOut(EndpointOut):
    """`secret` is shown only here."""

    secret: str

    @classmethod
    def showing(cls, endpoint: WebhookEndpoint, secret: str) -> Self:
        return cls(**EndpointOut.model_validate(endpoint).model_dump(), secret=secret)


class OutgoingDeliveryOut(Output):
    """`status` is what the endpoint answered last, `error` why that was no success. `due_at`: when it is tried next."""

    id: int
    event_id: str
    type: str
    data: dict[str, Any]
    state: DeliveryState
    attempts: int
    status: int | None
    error: str | None
    created_at: datetime
    due_at: datetime | None
    delivered_at: datetime | None

    @classmethod
    def of(cls, delivery: OutgoingDelivery, event: OutgoingEvent) -> Self:
        return cls(
            id=delivery.id,
            event_id=event.uid,
            type=event.kind,
            data=event.data,
            state=delivery.state,
            attempts=delivery.attempts,
            status=delivery.status,
            error=delivery.error,
            created_at=delivery.created_at,
            due_at=delivery.due_at if delivery.state is DeliveryState.PENDING else None,
            delivered_at=delivery.delivered_at,
        )


class ReplayedDeliveriesOut(Output):
    """How many will be sent once more."""

    replayed: int
