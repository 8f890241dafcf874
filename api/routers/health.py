"""Whether the process is alive, and whether it can work."""

import structlog
from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from api.dependencies import DatabaseDep
from api.errors import problem, responses
from db.errors import DatabaseUnavailable
from db.health import check_connection
from db.migrate import pending

log = structlog.get_logger()
router = APIRouter(tags=["health"])
_up_to_date: set[str] = set()


class Health(BaseModel):
    status: str


@router.get("/health")
def health() -> Health:
    """The process answers."""
    return Health(status="alive")


@router.get("/ready", response_model=Health, responses=responses(503))
def ready(database: DatabaseDep) -> Health | JSONResponse:
    """The database answers and has all migrations."""
    url = database.engine.url.render_as_string(hide_password=False)
    try:
        check_connection(url)
        waiting = _count_pending(url)
    except DatabaseUnavailable as error:
        # The address of the database is for the log: this route is public.
        log.error("not ready", error=str(error))
        return problem(503, "the database does not answer: check ICS_DATABASE_URL, and that the server runs")
    if waiting:
        return problem(503, f"the database lacks {waiting} migrations: run `ics migrate`")
    return Health(status="ready")


def _count_pending(url: str) -> int:
    """Migrations that the database lacks. Once there are none, there are none for the code of this process."""
    if url in _up_to_date:
        return 0
    waiting = len(pending(url))
    if not waiting:
        _up_to_date.add(url)
    return waiting
