"""Whether the process is alive, and whether it can work."""

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.datastructures import State

from api.dependencies import DatabaseDep
from api.errors import problem, responses
from api.exposition import threads_of
from db.errors import DatabaseUnavailable
from db.health import check_connection
from db.migrate import pending
from tasks.feedback.applier import Applier
from tasks.feedback.inbox import Inbox

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
def ready(request: Request, database: DatabaseDep) -> Health | JSONResponse:
    """The database answers and has all migrations, and this process can take webhooks and apply them."""
    if complaint := _complaint(request.app.state):
        return problem(503, complaint)
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


def _complaint(state: State) -> str | None:
    """What keeps this process from taking webhooks."""
    inbox: Inbox | None = getattr(state, "inbox", None)
    applier: Applier | None = getattr(state, "applier", None)
    dead = [name for name, lives in threads_of(inbox, applier).items() if not lives]
    if dead:
        return f"a thread of this process has ended ({', '.join(dead)}): restart it"
    if inbox is not None and inbox.is_full:
        return "the inbox is full: webhooks come faster than the database takes them"
    return None


def _count_pending(url: str) -> int:
    """Migrations that the database lacks. Once there are none, there are none for the code of this process."""
    if url in _up_to_date:
        return 0
    waiting = len(pending(url))
    if not waiting:
        _up_to_date.add(url)
    return waiting
