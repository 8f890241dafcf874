"""For the operator: failed jobs, and the token one is using."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.dependencies import CurrentToken, DatabaseDep, OptionalId, PageDep
from api.schemas.base import PageOut
from api.schemas.suppressions import FailedJobOut, TokenOut
from db.queries import failed_jobs
from db.states import JobState

router = APIRouter(prefix="/api", tags=["operations"])


@router.get("/failed-jobs")
def list_failed_jobs(
    database: DatabaseDep,
    page: PageDep,
    state: Annotated[JobState | None, Query()] = None,
    execution_id: OptionalId = None,
) -> PageOut[FailedJobOut]:
    """Work that gave up, with the error."""
    with database.reading() as session:
        return PageOut[FailedJobOut].of(
            failed_jobs.list_failed_jobs(
                session, after=page.cursor, limit=page.limit, state=state, execution_id=execution_id
            )
        )


@router.get("/auth/me")
def get_own_token(token: CurrentToken) -> TokenOut:
    """The token this request was made with."""
    return TokenOut.model_validate(token)
