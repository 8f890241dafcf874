"""What routes ask for: the database, who is calling, which page."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Path, Query, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Scope

from api.errors import Unauthenticated
from api.schemas.base import MAX_ID
from db.engine import Database, get_database
from db.queries.tokens import find_active_token, touch_token
from settings import Settings, get_settings
from tasks.access.callers import Caller

MAX_PAGE = 200
CALLER = "ics.caller"
"""Where the scope of a request keeps who is calling, once it is known."""
_LOOKED_AT = "ics.caller.looked_at"
_KNOWN_SECONDS = 1.0
_TOUCH_AFTER = timedelta(minutes=1)

DatabaseDep = Annotated[Database, Depends(get_database)]
SettingsDep = Annotated[Settings, Depends(get_settings)]
ItemId = Annotated[int, Path(ge=1, le=MAX_ID)]
OptionalId = Annotated[int | None, Query(ge=1, le=MAX_ID)]


class _Bearer(HTTPBearer):
    """Reads the header of WebSockets too, which FastAPI's own scheme cannot."""

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        return bearer_of(request)


def bearer_of(connection: HTTPConnection) -> HTTPAuthorizationCredentials | None:
    """The token in the header, whether it is one or not."""
    scheme, _, credentials = connection.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not credentials.strip():
        return None
    return HTTPAuthorizationCredentials(scheme=scheme, credentials=credentials.strip())


_bearer = _Bearer(
    auto_error=False, scheme_name="token", description="A token made by `ics token create NAME`."
)


async def authenticate(
    connection: HTTPConnection,
    database: DatabaseDep,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Who is calling; 401 for everyone else. Looked up once a request, and again when its body took its time: the token may be
    revoked by now."""
    if credentials is None:
        raise Unauthenticated
    known: Caller | None = connection.scope.get(CALLER)
    if known is None or time.monotonic() - connection.scope[_LOOKED_AT] > _KNOWN_SECONDS:
        known = await run_in_threadpool(find_caller, database, credentials.credentials)
        connection.scope[CALLER], connection.scope[_LOOKED_AT] = known, time.monotonic()
    return known


CurrentCaller = Annotated[Caller, Depends(authenticate)]


def find_caller(database: Database, plain: str) -> Caller:
    """Who has the token with this text, its use noted at most once a minute.

    Raises:
        Unauthenticated: it is not known, was revoked, its time is over, or its user is not active.
    """
    with database.reading() as session:
        token = find_active_token(session, plain)
    if token is None:
        raise Unauthenticated
    if token.last_used_at is None or datetime.now(UTC) - token.last_used_at > _TOUCH_AFTER:
        database.run(lambda s: touch_token(s, token.id))
    return Caller.of(
        token_id=token.id,
        token_name=token.name,
        role=token.role,
        named=token.abilities,
        user_id=token.user_id,
        user_name=token.user_name,
    )


def database_of(scope: Scope) -> Database:
    """The database of the application, for what stands in front of its routes."""
    overrides = scope["app"].dependency_overrides if "app" in scope else {}
    found: Database = overrides.get(get_database, get_database)()
    return found


def refuse_unknown_parameters(connection: HTTPConnection) -> None:
    """A misspelt filter is an error: left out silently, it would answer with everything."""
    if connection.scope["type"] != "http" or not connection.query_params:
        return
    route, app = connection.scope["route"], connection.scope["app"]
    described = app.openapi()["paths"].get(route.path_format, {}).get(connection.scope["method"].lower())
    if described is None:
        return
    known = {item["name"] for item in described.get("parameters", []) if item["in"] == "query"}
    unknown = sorted(set(connection.query_params) - known)
    if unknown:
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": ""} for name in unknown]
        )


class PageParams:
    """`limit` items after `cursor` (the `next_cursor` of the page before)."""

    def __init__(
        self,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
        cursor: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    ) -> None:
        self.limit = limit
        self.cursor = cursor


PageDep = Annotated[PageParams, Depends()]
