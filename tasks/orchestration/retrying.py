"""Retries failed jobs, one by one or by pages, and asks Prefect for the runs that they need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from db.engine import Database, Session
from db.errors import IcsError
from db.queries import failed_jobs
from db.queries.failed_jobs import Retried
from db.states import JobKind, JobState, RetryEffect
from tasks.orchestration.sync import dispatch_bulk_operation, dispatch_execution, dispatch_import


@dataclass(frozen=True)
class Refusal:
    """An open job that cannot be retried as things stand, and why."""

    id: int
    detail: str


@dataclass(frozen=True)
class RetriedPage:
    """What became of a page of open jobs; `left` of them wait behind `next_cursor`, which is None at the end."""

    retried: Sequence[Retried]
    refused: Sequence[Refusal]
    left: int
    next_cursor: int | None


def retry_open(
    database: Database,
    *,
    retried_by: str,
    after: int,
    limit: int,
    kind: JobKind | None = None,
    execution_id: int | None = None,
) -> RetriedPage:
    """Retry up to `limit` open jobs, each in a transaction of its own: one that is refused holds up no other."""
    with database.reading() as session:
        page = failed_jobs.list_failed_jobs(
            session, after=after, limit=limit, state=JobState.OPEN, kind=kind, execution_id=execution_id
        )
        left = 0
        if page.next_cursor is not None:
            left = failed_jobs.count_open(
                session, after=page.next_cursor, kind=kind, execution_id=execution_id
            )
    retried: list[Retried] = []
    refused: list[Refusal] = []
    for job in page.items:
        try:
            retried.append(database.run(partial(_retry, job.id, retried_by)))
        except IcsError as error:
            refused.append(Refusal(job.id, str(error)))
    return RetriedPage(retried, refused, left, page.next_cursor)


def dispatch_retried(database: Database, retried: Iterable[Retried]) -> None:
    """Ask for one run of each execution, import and bulk operation that needs one. What Prefect does not get now, it gets from the
    dispatcher."""
    jobs = [each.job for each in retried if each.effect is RetryEffect.DISPATCHED]
    for import_id in sorted({job.subject["import_id"] for job in jobs if job.kind == JobKind.IMPORT}):
        dispatch_import(database, import_id)
    operations = {job.subject["bulk_operation_id"] for job in jobs if job.kind == JobKind.BULK_OPERATION}
    for operation_id in sorted(operations):
        dispatch_bulk_operation(database, operation_id)
    for execution_id in sorted({job.execution_id for job in jobs if job.execution_id is not None}):
        dispatch_execution(database, execution_id)


def _retry(job_id: int, retried_by: str, session: Session) -> Retried:
    return failed_jobs.retry_job(session, job_id, retried_by=retried_by)
