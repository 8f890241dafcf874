"""An execution as it changes: server-sent events, a WebSocket, and the ticket that browsers need for them."""

import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from api.dependencies import CurrentToken, DatabaseDep, ItemId, SettingsDep, find_caller
from api.errors import Busy, Unauthenticated, responses
from api.schemas.base import MAX_ID
from db.engine import Database
from db.errors import NotFound
from db.queries import executions
from db.queries.tokens import is_active_token
from settings import Settings
from tasks.live.hub import Hub, Listener, TooManyListeners
from tasks.live.tickets import LIFETIME_SECONDS, Ticket, read_ticket, write_ticket
from tasks.signing import secret_key

tickets = APIRouter(prefix="/api/flow-executions", tags=["live"])
streams = APIRouter(prefix="/api/flow-executions", tags=["live"])
"""These look for the token by themselves: a ticket may stand in its place."""

HEARTBEAT_SECONDS = 15.0
_HEARTBEAT = b": still here\n\n"
_UNAUTHENTICATED, _NOT_FOUND, _BUSY, _GOING_AWAY = 4401, 4404, 4429, 1012


class TicketOut(BaseModel):
    """Goes into `?ticket=` of the two streams, for this execution and so many seconds."""

    ticket: str
    expires_in: int


@tickets.post("/{execution_id}/live-ticket", responses=responses(404))
def make_ticket(
    database: DatabaseDep, settings: SettingsDep, token: CurrentToken, execution_id: ItemId
) -> TicketOut:
    """A ticket for listening where no header can be sent, as in a browser."""
    with database.reading() as session:
        executions.get_execution(session, execution_id)
    expires_at = int(time.time()) + LIFETIME_SECONDS
    ticket = write_ticket(secret_key(settings), Ticket(execution_id, token.id, expires_at))
    return TicketOut(ticket=ticket, expires_in=LIFETIME_SECONDS)


def get_hub(connection: HTTPConnection) -> Hub:
    """The hub of this process; see `api/app.py`."""
    hub: Hub = connection.app.state.hub
    return hub


HubDep = Annotated[Hub, Depends(get_hub)]
TicketParameter = Annotated[
    str | None, Query(max_length=200, description="Of `live-ticket`, in place of a token.")
]


@streams.get(
    "/{execution_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **responses(401, 404, 429)},
    openapi_extra={"security": [{"token": []}]},
)
async def stream_events(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    hub: HubDep,
    execution_id: ItemId,
    ticket: TicketParameter = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> StreamingResponse:
    """Server-sent events: the whole picture within a second of each change. With `Last-Event-ID` only what is different from that."""
    token_id = await run_in_threadpool(_caller, request, database, settings, execution_id, ticket)
    try:
        listener = hub.join(execution_id, token_id, seen=last_event_id)
    except TooManyListeners as error:
        raise Busy("too many are listening: poll `stats` with its ETag, or come back later") from error

    async def stream() -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        while await _may_listen(database, listener):
            update = await listener.next(HEARTBEAT_SECONDS)
            if listener.is_closed:
                return
            yield _HEARTBEAT if update is None else update.server_sent

    return _EventStream(stream(), partial(hub.leave, listener))


class _EventStream(StreamingResponse):
    """Leaves the hub however the response ends, even before its first byte."""

    def __init__(self, content: AsyncIterator[bytes], leave: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(content, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


@streams.websocket("/{execution_id}/live")
async def stream_messages(
    socket: WebSocket,
    database: DatabaseDep,
    settings: SettingsDep,
    hub: HubDep,
    execution_id: Annotated[int, Path(ge=1, le=MAX_ID)],
    ticket: TicketParameter = None,
    last_event_id: Annotated[str | None, Query(max_length=64)] = None,
) -> None:
    """The same over a WebSocket: messages `{"id", "execution"}`. Closed with 4401 (no token), 4404, 4429 (too many) or 1012 (restart)."""
    await socket.accept()
    try:
        token_id = await run_in_threadpool(_caller, socket, database, settings, execution_id, ticket)
        async with hub.listening(execution_id, token_id, seen=last_event_id) as listener:
            code = await _send(socket, database, listener)
    except Unauthenticated:
        code = _UNAUTHENTICATED
    except NotFound:
        code = _NOT_FOUND
    except TooManyListeners:
        code = _BUSY
    except WebSocketDisconnect:
        return
    await socket.close(code)


async def _send(socket: WebSocket, database: Database, listener: Listener) -> int:
    """Until somebody ends it; returns the code to close with. A listener who has gone away is noticed by what is sent."""
    while await _may_listen(database, listener):
        update = await listener.next(HEARTBEAT_SECONDS)
        if listener.is_closed:
            return _GOING_AWAY
        await socket.send_text('{"id":null}' if update is None else update.message)
    return _UNAUTHENTICATED


def _caller(
    connection: HTTPConnection, database: Database, settings: Settings, execution_id: int, ticket: str | None
) -> int:
    """The id of the token that may listen, by header or by ticket.

    Raises:
        Unauthenticated: neither is good.
        NotFound: there is no such execution.
    """
    scheme, _, plain = connection.headers.get("Authorization", "").partition(" ")
    if ticket is not None:
        found = read_ticket(secret_key(settings), ticket, now=time.time())
        if found is None or found.execution_id != execution_id:
            raise Unauthenticated
        token_id = found.token_id
    elif scheme.lower() == "bearer" and plain.strip():
        token_id = find_caller(database, plain.strip()).id
    else:
        raise Unauthenticated
    with database.reading() as session:
        if not is_active_token(session, token_id):
            raise Unauthenticated
        executions.get_execution(session, execution_id)
    return token_id


async def _may_listen(database: Database, listener: Listener) -> bool:
    """Whether the token is still good; looked at now and then."""
    if not listener.is_check_due():
        return True

    def look() -> bool:
        with database.reading() as session:
            return is_active_token(session, listener.token_id)

    return await run_in_threadpool(look)
