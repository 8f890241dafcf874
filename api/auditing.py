"""Who did what, kept before it is done; and what came of it, after.

An audited route is not run before its entry is committed: what is not in the log was not done.
"""

from typing import Any, Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.request_ids import current_id
from api.throttling import address_of
from db.engine import Database, DatabaseError, Session
from db.queries import audit
from db.queries.audit import NewEntry
from tasks.access.abilities import Ability
from tasks.access.audit import record
from tasks.access.callers import Caller

log = structlog.get_logger()
_STATE: Final = "ics.audit"
_LONGEST: Final = 100


class _Entry:
    """The entry of a request, once there is one."""

    def __init__(self) -> None:
        self.id: int | None = None
        self.database: Database | None = None
        self.details: dict[str, Any] = {}


async def begin_entry(
    connection: HTTPConnection, database: Database, caller: Caller, ability: Ability
) -> None:
    """Commit that the caller is about to do this."""
    new = NewEntry(
        who=caller.who,
        action=ability.value,
        user_id=caller.user_id,
        token_id=caller.id,
        route=f"{connection.scope.get('method', 'WS')} {_template(connection)}",
        subject={name: _short(value) for name, value in connection.path_params.items()},
        address=address_of(connection.scope),
        request_id=current_id(),
    )
    entry: _Entry = connection.scope[_STATE]
    entry.id = await run_in_threadpool(database.run, lambda s: audit.insert_entry(s, new))
    entry.database = database


def note(connection: HTTPConnection, **details: Any) -> None:
    """Say more of what came of it: ids and words that only the route knows, no personal data."""
    entry: _Entry | None = connection.scope.get(_STATE)
    if entry is not None:
        entry.details.update(details)


class Auditing:
    """ASGI middleware: adds what came of a request to its entry."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry, status = _Entry(), 500
        scope[_STATE] = entry

        async def seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, seen)
        finally:
            if entry.id is not None and entry.database is not None:
                await run_in_threadpool(_close, entry.database, entry.id, status, entry.details)


def _close(database: Database, entry_id: int, status: int, details: dict[str, Any]) -> None:
    def work(session: Session) -> None:
        audit.insert_outcome(session, entry_id, status, details)

    try:
        database.run(work)
    except DatabaseError as error:
        # The entry stands without an outcome, as it would had the process died here.
        log.error("outcome not kept", audit_entry_id=entry_id, status=status, error=type(error).__name__)


def _template(connection: HTTPConnection) -> str:
    return str(getattr(connection.scope.get("route"), "path_format", "none"))


def _short(value: Any) -> int | str:
    text = str(value)[:_LONGEST]
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text


def keep_login(
    connection: HTTPConnection, database: Database, action: str, *, who: str, user_id: int | None, status: int
) -> None:
    """An entry for somebody who has no token yet. Of who failed only the address he came from is kept."""
    entry = NewEntry(
        who=who,
        action=action,
        user_id=user_id,
        route=f"POST {_template(connection)}",
        address=address_of(connection.scope),
        request_id=current_id(),
    )
    record(database, entry, status=status)
