"""Work that gave up, for people to see and to try again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import Conflict, NotFound
from db.models import Batch, FailedJob, FlowExecution, Message, Stats
from db.queries import bulk, executions, imports
from db.queries.pages import Page, page_of
from db.queries.stats import move_stats
from db.queries.transitions import rowcount
from db.states import (
    BatchState,
    BulkState,
    ExecutionState,
    Failure,
    ImportState,
    JobKind,
    JobState,
    MessageState,
    RetryEffect,
)

T = TypeVar("T", bound=tuple[Any, ...])
_OVER = (ExecutionState.SETTLING, ExecutionState.COMPLETED)


@dataclass(frozen=True)
class Retried:
    """A job that was retried; a Prefect run has to be asked for when `effect` is `dispatched`."""

    job: FailedJob
    effect: RetryEffect


def list_failed_jobs(
    session: Session,
    *,
    after: int,
    limit: int,
    state: JobState | None = None,
    kind: JobKind | None = None,
    execution_id: int | None = None,
) -> Page[FailedJob]:
    """Failed jobs in the order in which they failed."""
    query = _filtered(select(FailedJob), state, kind, execution_id)
    return page_of(session, query, FailedJob.id, after=after, limit=limit)


def count_open(
    session: Session, *, after: int = 0, kind: JobKind | None = None, execution_id: int | None = None
) -> int:
    """Open failed jobs whose id is above `after`."""
    query = select(func.count()).select_from(FailedJob).where(FailedJob.id > after)
    return session.scalars(_filtered(query, JobState.OPEN, kind, execution_id)).one()


def retry_job(session: Session, job_id: int, *, retried_by: str) -> Retried:
    """Try again what gave up, and note who said so. The job stays, as `retried`.

    Raises:
        NotFound: there is no such job, or what it is about is gone.
        Conflict: it was retried already, or its execution is not in a state to go on with it.
    """
    job = _lock_job(session, job_id)
    if job.state is JobState.RETRIED:
        when = f"{job.retried_at:%Y-%m-%d %H:%M:%S} UTC" if job.retried_at else "some time"
        raise Conflict(
            f"failed job {job_id} was retried already: at {when}, by {job.retried_by or 'somebody'}"
        )
    retry = _RETRIES.get(job.kind)
    if retry is None:
        raise Conflict(f"failed job {job_id} is of the kind {job.kind}, which cannot be retried")
    effect = retry(session, job)
    session.execute(
        update(FailedJob)
        .where(FailedJob.id == job_id)
        .values(state=JobState.RETRIED, retried_at=utc_now(), retried_by=retried_by[:100])
        .execution_options(synchronize_session=False)
    )
    return Retried(session.get_one(FailedJob, job_id, populate_existing=True), effect)


def _send_batch_again(session: Session, job: FailedJob) -> RetryEffect:
    """The batch is due again with all its attempts, and its execution open to send it."""
    execution = _lock_execution(session, job)
    if execution.state not in (ExecutionState.SENDING, ExecutionState.PAUSED, *_OVER):
        raise Conflict(f"execution {execution.id} is {execution.state}: nothing of it is sent any more")
    batch = _lock_batch(session, execution.id, job.subject.get("batch_id"))
    if batch is None:
        return RetryEffect.NOTHING
    if batch.state is BatchState.SENDING:
        # It was opened again for other messages of it. What is pending in it counts as being sent.
        raise Conflict(f"batch {batch.id} is being sent just now; try again in a moment")
    moved = _take_back_given_up(session, batch)
    if not moved:
        return RetryEffect.NOTHING
    _make_due(session, batch.id)
    if execution.state in _OVER:
        executions.reopen_execution(session, execution.id)
    move_stats(session, execution.id, {MessageState.FAILED.value: -moved, MessageState.PENDING.value: moved})
    return RetryEffect.DISPATCHED if execution.state in _OVER else RetryEffect.WAITING


def _lock_batch(session: Session, execution_id: int, batch_id: int | None) -> Batch | None:
    return session.scalars(
        select(Batch)
        .where(Batch.id == batch_id, Batch.execution_id == execution_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def _make_due(session: Session, batch_id: int) -> None:
    """Due at once, with all attempts; whoever held it before holds a stale token now."""
    session.execute(
        update(Batch)
        .where(Batch.id == batch_id)
        .values(
            state=BatchState.PENDING,
            token=Batch.token + 1,
            attempts=0,
            lease_until=None,
            not_before=None,
            error=None,
        )
        .execution_options(synchronize_session=False)
    )


def _take_back_given_up(session: Session, batch: Batch) -> int:
    """Failed -> pending, of those who failed only because the batch gave up. Returns the number of messages.

    Feedback proves that the provider took a message in spite of its answer: that one is not sent again.
    """
    return rowcount(
        session.execute(
            update(Message)
            .where(
                Message.id.between(batch.first_message_id, batch.last_message_id),
                # As a sum it offers no index that would read the whole execution; see `open_messages`.
                Message.execution_id + 0 == batch.execution_id,
                Message.step_id == batch.step_id,
                Message.state == MessageState.FAILED,
                Message.reason == Failure.GAVE_UP,
                Message.feedback == 0,
            )
            .values(state=MessageState.PENDING, reason=None)
            .execution_options(synchronize_session=False)
        )
    )


def _go_on(session: Session, job: FailedJob) -> RetryEffect:
    """Resume the execution that this job paused. One that a person paused meanwhile is left to people."""
    execution = _lock_execution(session, job)
    if execution.state is not ExecutionState.PAUSED:
        return RetryEffect.NOTHING
    if execution.reason != job.error:
        raise Conflict(
            f"execution {execution.id} is paused for another reason ({execution.reason}); resume it itself"
        )
    executions.resume_execution(session, execution.id)
    return RetryEffect.DISPATCHED


def _begin_again(session: Session, job: FailedJob) -> RetryEffect:
    """Queue an execution that failed before its snapshot; one that was paused after it goes on."""
    execution = _lock_execution(session, job)
    if execution.state is not ExecutionState.FAILED:
        return _go_on(session, job)
    executions.requeue_execution(session, execution.id)
    return RetryEffect.DISPATCHED


def _import_again(session: Session, job: FailedJob) -> RetryEffect:
    member_import = imports.get_import(session, job.subject.get("import_id", 0))
    if member_import.state is not ImportState.FAILED:
        return RetryEffect.NOTHING
    imports.requeue_import(session, member_import.id)
    return RetryEffect.DISPATCHED


def _bulk_again(session: Session, job: FailedJob) -> RetryEffect:
    operation = bulk.get_operation(session, job.subject.get("bulk_operation_id", 0))
    if operation.state is not BulkState.FAILED:
        return RetryEffect.NOTHING
    bulk.requeue_operation(session, operation.id)
    return RetryEffect.DISPATCHED


def _decide_unknown(session: Session, job: FailedJob) -> RetryEffect:
    """What may have been sent is not sent again by a retry: that is a decision of its own, kept in `approvals`."""
    execution = _lock_execution(session, job)
    if session.get_one(Stats, execution.id, populate_existing=True).unknown:
        path = f"/api/flow-executions/{execution.id}/unknown"
        raise Conflict(
            f"messages that may have been sent are sent again by POST {path}/resend, or written off by POST {path}/close"
        )
    return RetryEffect.NOTHING


_RETRIES: Mapping[str, Callable[[Session, FailedJob], RetryEffect]] = {
    JobKind.SEND_BATCH: _send_batch_again,
    JobKind.REQUEST_REFUSED: _go_on,
    JobKind.EXECUTION: _begin_again,
    JobKind.IMPORT: _import_again,
    JobKind.BULK_OPERATION: _bulk_again,
    JobKind.UNKNOWN_OUTCOME: _decide_unknown,
}


def _lock_job(session: Session, job_id: int) -> FailedJob:
    found = session.scalars(
        select(FailedJob)
        .where(FailedJob.id == job_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("failed job", job_id)
    return found


def _lock_execution(session: Session, job: FailedJob) -> FlowExecution:
    if job.execution_id is None:
        raise NotFound("the execution of failed job", job.id)
    return executions.lock_execution(session, job.execution_id)


def _filtered(
    query: Select[T], state: JobState | None, kind: JobKind | None, execution_id: int | None
) -> Select[T]:
    if state is not None:
        query = query.where(FailedJob.state == state)
    if kind is not None:
        query = query.where(FailedJob.kind == kind)
    if execution_id is not None:
        query = query.where(FailedJob.execution_id == execution_id)
    return query
