"""Suppressed addresses."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.schemas.base import Id, Input, Output
from db.states import Channel, SuppressionReason


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
