"""An execution as it changes: server-sent events, a WebSocket, and the ticket that browsers need for them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from api.dependencies import CurrentToken, DatabaseDep, ItemId, SettingsDep, find_caller
from api.errors import Busy, Unauthenticated, responses
from api.schemas.base import MAX_ID
from db.engine import Database, DatabaseOutage
from db.errors import NotFound
from db.queries import executions
from db.queries.tokens import list_active_tokens
from settings import Settings
from tasks.live.hub import Hub
from tasks.live.listeners import End, Listener, TooManyListeners
from tasks.live.tickets import LIFETIME_SECONDS, Ticket, read_ticket, write_ticket
from tasks.signing import secret_key

tickets = APIRouter(prefix="/api/flow-executions", tags=["live"])
streams = APIRouter(prefix="/api/flow-executions", tags=["live"])
"""These look for the token by themselves: a ticket may stand in its place."""

HEARTBEAT_SECONDS = 15.0
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"
_SIGN_OF_LIFE = '{"id":null}'
_UNAUTHENTICATED, _GOING_AWAY = 4401, 1012
_CODES: Mapping[type[Exception], int] = {
    Unauthenticated: _UNAUTHENTICATED,
    NotFound: 4404,
    TooManyListeners: 4429,
    DatabaseOutage: 1013,
}
"""Of closing a WebSocket. Those of RFC 6455's registry that fit, else 4000 and the status that HTTP would have."""


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
SeenHeader = Annotated[
    str | None, Header(alias="Last-Event-ID", max_length=64, description="The last update one has.")
]
SeenParameter = Annotated[
    str | None, Query(max_length=64, description="The same, where no header can be sent.")
]


@streams.get(
    "/{execution_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **responses(401, 404, 429, 503)},
    openapi_extra={"security": [{"token": []}]},
)
async def stream_events(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    hub: HubDep,
    execution_id: ItemId,
    ticket: TicketParameter = None,
    seen: SeenHeader = None,
    last_event_id: SeenParameter = None,
) -> StreamingResponse:
    """Server-sent events: the whole picture within a second of each change. With `Last-Event-ID` only what is different from that."""
    token_id = await hub.at_the_door(partial(_admit, hub, request, database, settings, execution_id, ticket))
    try:
        listener = hub.join(execution_id, token_id, seen=seen or last_event_id)
    except TooManyListeners as error:
        raise Busy("too many are listening: poll `stats` with its ETag, or come back later") from error
    return _EventStream(_events(listener), partial(hub.leave, listener))


async def _events(listener: Listener) -> AsyncIterator[bytes]:
    yield _RETRY
    while True:
        update = await listener.next(HEARTBEAT_SECONDS)
        if listener.end:
            return
        yield _HEARTBEAT if update is None else update.server_sent


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
    last_event_id: SeenParameter = None,
) -> None:
    """The same over a WebSocket: messages `{"id", "execution"}`. Closed with 4401 (no token), 4404, 4429 (too many),
    1012 (restart) or 1013 (no database).

    It is accepted before it is refused: a browser is not told why a handshake failed, but sees the code of a close.
    """
    await socket.accept()
    try:
        token_id = await hub.at_the_door(
            partial(_admit, hub, socket, database, settings, execution_id, ticket)
        )
        with hub.listening(execution_id, token_id, seen=last_event_id) as listener:
            code = await _send_until_over(socket, listener)
    except tuple(_CODES) as error:
        code = next(each for kind, each in _CODES.items() if isinstance(error, kind))
    if code is not None:
        with suppress(WebSocketDisconnect):
            await socket.close(code)


async def _send_until_over(socket: WebSocket, listener: Listener) -> int | None:
    """Send updates; returns the code to close with, None when the other side has gone.

    What it sends is read and dropped: uvicorn stops reading a socket with a message that nobody takes, and then hears neither its
    close nor its pongs.
    """
    sending = asyncio.create_task(_send(socket, listener))
    reading = asyncio.create_task(_drop_messages(socket))
    try:
        await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
        return sending.result() if sending.done() else None
    except WebSocketDisconnect:
        return None
    finally:
        sending.cancel()
        reading.cancel()
        await asyncio.gather(sending, reading, return_exceptions=True)


async def _send(socket: WebSocket, listener: Listener) -> int:
    while True:
        update = await listener.next(HEARTBEAT_SECONDS)
        if listener.end:
            return _UNAUTHENTICATED if listener.end is End.REVOKED else _GOING_AWAY
        await socket.send_text(_SIGN_OF_LIFE if update is None else update.message)


async def _drop_messages(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _admit(
    hub: Hub,
    connection: HTTPConnection,
    database: Database,
    settings: Settings,
    execution_id: int,
    ticket: str | None,
) -> int:
    """The id of the token that may listen, by header or by ticket.

    Raises:
        Unauthenticated: neither is good.
        NotFound: there is no such execution.
    """
    if ticket is None:
        token_id = _token_in_header(connection, database)
    else:
        token_id = _token_of_ticket(ticket, database, settings, execution_id)
    if not hub.knows(execution_id):
        with database.reading() as session:
            executions.get_execution(session, execution_id)
    return token_id


def _token_in_header(connection: HTTPConnection, database: Database) -> int:
    scheme, _, plain = connection.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not plain.strip():
        raise Unauthenticated
    return find_caller(database, plain.strip()).id


def _token_of_ticket(ticket: str, database: Database, settings: Settings, execution_id: int) -> int:
    found = read_ticket(secret_key(settings), ticket, now=time.time())
    if found is None or found.execution_id != execution_id:
        raise Unauthenticated
    with database.reading() as session:
        if not list_active_tokens(session, [found.token_id]):
            raise Unauthenticated
    return found.token_id
