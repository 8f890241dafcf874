"""Work that gave up, for people to see."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import FailedJob
from db.queries.pages import Page, page_of
from db.states import JobState


def list_failed_jobs(
    session: Session,
    *,
    after: int,
    limit: int,
    state: JobState | None = None,
    execution_id: int | None = None,
) -> Page[FailedJob]:
    """Failed jobs in the order in which they failed."""
    query = select(FailedJob)
    if state is not None:
        query = query.where(FailedJob.state == state)
    if execution_id is not None:
        query = query.where(FailedJob.execution_id == execution_id)
    return page_of(session, query, FailedJob.id, after=after, limit=limit)
