"""Suppressed addresses, failed jobs and tokens."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import Id, Input, Output
from db.states import Channel, JobState, SuppressionReason


class SuppressionIn(Input):
    """Never write to this address again: in no flow, or in one."""

    channel: Channel
    address: Annotated[str, Field(min_length=3, max_length=320)]
    flow_id: Id | None = None


class SuppressionOut(Output):
    """`scope` is 0 for everywhere, else the id of a flow."""

    id: int
    channel: Channel
    address: str
    scope: int
    reason: SuppressionReason
    active: bool
    effective_at: datetime
    source: str
    created_at: datetime


class FailedJobOut(Output):
    id: int
    kind: str
    execution_id: int | None
    subject: dict[str, Any]
    error: str
    state: JobState
    failed_at: datetime
    retried_at: datetime | None


class TokenOut(Output):
    id: int
    name: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None
