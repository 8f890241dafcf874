"""Messages whose outcome is unknown, what people decided about them, and who."""

from datetime import datetime
from typing import Any

from api.schemas.base import Input, Output


class DecisionIn(Input):
    """`before_evidence_window` decides about messages too about which a webhook may still come."""

    before_evidence_window: bool = False


class DecidedOut(Output):
    """What a person approved: it moved `messages`, and `left` are still unknown."""

    messages: int
    left: int
    approval_id: int


class UnknownOut(Output):
    """The unknown messages of an execution. `overdue` of them are older than the evidence window, which ends for the
    youngest at `evidence_until`; about those a person may decide."""

    execution_id: int
    messages: int
    batches: int
    overdue: int
    oldest_since: datetime | None
    oldest_seconds: float | None
    evidence_until: datetime | None


class ApprovalOut(Output):
    """Who approved what, and when. `details` has counts, and the id of the token."""

    id: int
    action: str
    execution_id: int
    approved_by: str
    details: dict[str, Any]
    approved_at: datetime
