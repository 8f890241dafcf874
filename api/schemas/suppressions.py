"""Suppressed addresses."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.schemas.base import Id, Input, Output
from api.schemas.contacts import Contact, Said
from db.states import Channel, SuppressionReason


class SuppressionIn(Input):
    """Never write to this address again: in no flow, or in one."""

    channel: Channel
    address: Annotated[str, Field(min_length=3, max_length=320)]
    flow_id: Id | None = None
    note: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Why, and on whose word; kept as evidence.", examples=["asked for it on the phone"]
    )


class SuppressionOut(Output):
    """`scope` is 0 for everywhere, else the id of a flow."""

    id: int
    channel: Channel
    address: Contact
    scope: int
    reason: SuppressionReason
    active: bool
    effective_at: datetime
    source: str
    evidence: Said
    created_at: datetime


class SuppressionChangeOut(Output):
    """What happened to a suppression: by whom or what, when, and on what evidence."""

    id: int
    active: bool
    effective_at: datetime
    source: str
    evidence: Said
    changed_at: datetime


class RowErrorOut(Output):
    row: int
    message: str


class ImportedSuppressionsOut(Output):
    """`suppressed` are the addresses that were not suppressed before; `errors` the first hundred of the `rejected` rows."""

    rows: int
    suppressed: int
    rejected: int
    errors: list[RowErrorOut]
