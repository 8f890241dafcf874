"""Failed jobs."""

from datetime import datetime
from typing import Any, Self

from api.schemas.base import Output
from db.queries.failed_jobs import Retried
from db.states import JobState, RetryEffect
from tasks.orchestration.retrying import RetriedPage


class FailedJobOut(Output):
    id: int
    kind: str
    execution_id: int | None
    subject: dict[str, Any]
    error: str
    state: JobState
    failed_at: datetime
    retried_at: datetime | None
    retried_by: str | None


class RetriedJobOut(FailedJobOut):
    """`effect`: a new run is `dispatched`; or the messages are `waiting`, pending again, for the run that is on or for their
    paused execution to be resumed; or `nothing` was left to do."""

    effect: RetryEffect

    @classmethod
    def of(cls, retried: Retried) -> Self:
        job = FailedJobOut.model_validate(retried.job)
        return cls(**job.model_dump(), effect=retried.effect)


class RefusedJobOut(Output):
    """A job that stays open, and why."""

    id: int
    detail: str


class RetriedJobsOut(Output):
    """`left` open jobs come after `next_cursor`; it is null at the end."""

    retried: list[RetriedJobOut]
    refused: list[RefusedJobOut]
    left: int
    next_cursor: int | None

    @classmethod
    def of(cls, page: RetriedPage) -> Self:
        return cls(
            retried=[RetriedJobOut.of(each) for each in page.retried],
            refused=[RefusedJobOut.model_validate(each) for each in page.refused],
            left=page.left,
            next_cursor=page.next_cursor,
        )
