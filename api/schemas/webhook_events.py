"""Webhooks and the events in them that could not be applied."""

from datetime import datetime

from api.schemas.base import Output
from db.states import InboxState, WebhookEventState, WebhookProblem


class WebhookEventOut(Output):
    """`kind` is null for what cannot be read. `reason` says what was wrong when it was tried last."""

    id: int
    delivery_id: int
    source: str
    kind: str | None
    problem: WebhookProblem
    reason: str
    reference: str | None
    state: WebhookEventState
    attempts: int
    occurred_at: datetime | None
    created_at: datetime
    tried_at: datetime
    replayed_by: str | None


class WebhookEventDetail(WebhookEventOut):
    """`said` is what the provider wrote, shortened; null when it is not stored any more."""

    said: str | None


class ReplayedOut(Output):
    """What became of the events that were tried again, and where to go on; null at the end."""

    applied: int
    open: int
    gone: int
    next_cursor: int | None


class RelabelledOut(Output):
    """`changed` events have another label now. `left` messages come after `next_cursor`; it is null at the end."""

    changed: int
    left: int
    next_cursor: int | None


class DeliveryOut(Output):
    """One POST of a provider. `size` are the bytes of its body."""

    id: int
    source: str
    size: int
    state: InboxState
    attempts: int
    error: str | None
    received_at: datetime
    applied_at: datetime | None
