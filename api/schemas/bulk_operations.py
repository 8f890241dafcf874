"""Bulk operations."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from api.schemas.base import Id, Input, Output
from api.schemas.clients import Tags
from db.models import BulkOperation
from db.states import BulkAction, BulkState

MAX_SELECTED = 1_000


class ChosenIn(Input):
    """Whom it is about: `client_ids`, the members of a list (`members_of`), or whom a segment `rule` describes. One of them."""

    client_ids: Annotated[list[Id], Field(min_length=1, max_length=MAX_SELECTED)] | None = None
    members_of: Annotated[Id | None, Field(description="Id of a client list.")] = None
    rule: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [self.client_ids, self.members_of, self.rule]
        if sum(value is not None for value in given) != 1:
            raise ValueError("give one of client_ids, members_of and rule")
        return self


class BulkCountIn(Input):
    """Whom to count: the members of a list, or whom a segment rule describes."""

    members_of: Id | None = None
    rule: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.members_of is None) == (self.rule is None):
            raise ValueError("give one of members_of and rule")
        return self


class BulkOperationIn(ChosenIn):
    """`tags` go with `add_tags` and `remove_tags`, `client_list_id` (a static list) with `add_to_list` and `remove_from_list`.

    A `delete` by rule or list needs `expected_count`, which `POST /api/bulk-operations/count` answers.
    """

    action: BulkAction
    tags: Annotated[Tags | None, Field(examples=[["vip"]])] = None
    client_list_id: Id | None = None
    expected_count: Annotated[int | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _fits_action(self) -> Self:
        needs_tags = self.action in (BulkAction.ADD_TAGS, BulkAction.REMOVE_TAGS)
        needs_list = self.action in (BulkAction.ADD_TO_LIST, BulkAction.REMOVE_FROM_LIST)
        if needs_tags != bool(self.tags):
            raise ValueError(f"tags: {self.action} {'needs at least one' if needs_tags else 'takes none'}")
        if needs_list != (self.client_list_id is not None):
            raise ValueError(f"client_list_id: {self.action} {'needs one' if needs_list else 'takes none'}")
        if self.expected_count is not None and (self.action is not BulkAction.DELETE or self.client_ids):
            raise ValueError("expected_count: only a delete by rule or list has one")
        return self


class BulkCountOut(Output):
    matched_count: int


class BulkOperationOut(Output):
    """`matched_count` clients it was about when it was asked for; `done_count` it came to so far, of whom `changed_count` are
    different now, and `skipped_count` have as many tags as there may be."""

    id: int
    action: BulkAction
    arguments: dict[str, Any]
    client_ids: list[int] | None
    rule: dict[str, Any] | None
    state: BulkState
    error: str | None
    created_by: str
    matched_count: int | None
    done_count: int
    changed_count: int
    skipped_count: int
    progress: Annotated[float, Field(description="From 0 to 1, by the ids that were walked.")]
    prefect_flow_run_id: str | None
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: BulkOperation) -> Self:
        names = [name for name in cls.model_fields if name != "progress"]
        return cls(**{name: getattr(row, name) for name in names}, progress=_progress(row))


def _progress(row: BulkOperation) -> float:
    if row.state is BulkState.COMPLETED or not row.until_client_id:
        return 1.0 if row.state is BulkState.COMPLETED else 0.0
    return round(min(row.last_client_id / row.until_client_id, 1.0), 4)
