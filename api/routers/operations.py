"""For the operator: failed jobs, and the token one is using."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query

from api.dependencies import CurrentToken, DatabaseDep, ItemId, OptionalId, PageDep, SettingsDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.operations import FailedJobOut, RetriedJobOut, RetriedJobsOut, TokenOut
from api.schemas.overview import OverviewOut
from db.queries import failed_jobs
from db.queries.overview import read_overview
from db.states import JobKind, JobState
from tasks.orchestration.retrying import dispatch_retried, retry_open

router = APIRouter(prefix="/api", tags=["operations"])
OptionalKind = Annotated[JobKind | None, Query()]


@router.get("/failed-jobs")
def list_failed_jobs(
    database: DatabaseDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    kind: OptionalKind = None,
    execution_id: OptionalId = None,
) -> PageOut[FailedJobOut]:
    """Work that gave up, with the error."""
    with database.reading() as session:
        return PageOut[FailedJobOut].of(
            failed_jobs.list_failed_jobs(
                session,
                after=page.cursor,
                limit=page.limit,
                state=state,
                kind=kind,
                execution_id=execution_id,
            )
        )


@router.post("/failed-jobs/retry")
def retry_failed_jobs(
    database: DatabaseDep,
    token: CurrentToken,
    background: BackgroundTasks,
    page: PageDep,
    kind: OptionalKind = None,
    execution_id: OptionalId = None,
) -> RetriedJobsOut:
    """Retry the open failed jobs, up to `limit` of them in the order in which they failed; go on with `next_cursor`."""
    found = retry_open(
        database,
        retried_by=token.name,
        after=page.cursor,
        limit=page.limit,
        kind=kind,
        execution_id=execution_id,
    )
    background.add_task(dispatch_retried, database, found.retried)
    return RetriedJobsOut.of(found)


@router.post("/failed-jobs/{job_id}/retry", responses=responses(404, 409))
def retry_failed_job(
    database: DatabaseDep, token: CurrentToken, background: BackgroundTasks, job_id: ItemId
) -> RetriedJobOut:
    """Try again what gave up. Kept with the token's name and the time."""
    retried = database.run(lambda s: failed_jobs.retry_job(s, job_id, retried_by=token.name))
    background.add_task(dispatch_retried, database, [retried])
    return RetriedJobOut.of(retried)


@router.get("/operations/overview")
def get_overview(database: DatabaseDep, settings: SettingsDep) -> OverviewOut:
    """What waits, for how long, and what nobody works on."""
    with database.reading() as session:
        overview = read_overview(session, unclaimed_seconds=settings.unclaimed_seconds)
    return OverviewOut.of(overview, settings.unclaimed_seconds)


@router.get("/auth/me")
def get_own_token(token: CurrentToken) -> TokenOut:
    """The token this request was made with."""
    return TokenOut.model_validate(token)
