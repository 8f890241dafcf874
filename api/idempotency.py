"""`Idempotency-Key`: a POST that is sent again, since its answer got lost, is not done again.

The key is claimed before the request is done, and its answer kept after. A request that was cut off in between, or failed, keeps its key:
nobody knows whether it was done, and it is not done again by itself. Only sending a flow is known to be safe: there the ledger
itself knows the key (`trigger_of`).
"""

import hashlib
import re
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.dependencies import CALLER, database_of
from api.errors import problem
from db.engine import Database, DatabaseError, DatabaseOutage
from db.queries import idempotency
from settings import get_settings
from tasks.access.callers import Caller
from tasks.access.sealed_answers import hash_of, open_answer, seal_answer
from tasks.signing import secret_key

log = structlog.get_logger()
HEADER: Final = "Idempotency-Key"
LARGEST_ANSWER: Final = 1024 * 1024
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SEND = re.compile(r"/api/flows/[0-9]+/send")
# Nothing was done: whoever mends the request, or comes back later, may use the key again.
_NOTHING_DONE: Final = frozenset({400, 401, 403, 408, 413, 422, 429})
_REPLAYED_HEADERS: Final = ("content-type", "etag", "location")


class Idempotency:
    """ASGI middleware behind the door: it knows who is calling."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get(HEADER) if scope["type"] == "http" else None
        caller: Caller | None = scope.get(CALLER)
        if key is None or caller is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if not _KEY.fullmatch(key):
            words = f"{HEADER}: use 1 to 255 visible ASCII characters, such as a UUID"
            await problem(400, words)(scope, receive, send)
            return
        if _has_file(scope) and "content-length" not in Headers(scope=scope):
            await problem(411, f"{HEADER}: a file needs a Content-Length with it")(scope, receive, send)
            return
        await _Attempt(self._app, scope, key, caller).run(receive, send)


def trigger_of(connection: HTTPConnection, token_id: int) -> str | None:
    """What the ledger knows a send with a key by: the same key again is the same execution, whatever was cut off."""
    key = connection.headers.get(HEADER)
    return None if key is None else f"key:{hash_of(f'{token_id} {key}')[:48]}"


class _Attempt:
    """One request with a key."""

    def __init__(self, app: ASGIApp, scope: Scope, key: str, caller: Caller) -> None:
        self._app = app
        self._scope = scope
        self._key = key
        self._owner = (caller.id, hash_of(key))
        self._may = ",".join(sorted(caller.abilities))
        self._database: Database = database_of(scope)

    async def run(self, receive: Receive, send: Send) -> None:
        body, receive = await self._read(receive)
        request_hash = self._hash(body)
        try:
            earlier = await self._work(idempotency.claim_key, request_hash)
        except DatabaseOutage:
            await problem(503, "the database does not answer; try again", headers={"Retry-After": "5"})(
                self._scope, receive, send
            )
            return
        if earlier is None:
            await self._do(receive, send)
        elif earlier.request_hash != request_hash:
            words = f"{HEADER}: this key came with another request before; use a new one"
            await problem(422, words)(self._scope, receive, send)
        elif earlier.status is not None:
            await self._replay(earlier.status, earlier.answer, receive, send)
        elif _SEND.fullmatch(self._scope["path"]):
            await self._do(receive, send)
        else:
            words = (
                "the first request with this key is being worked on, was cut off, or failed: "
                "look whether it was done, and use a new key if it was not"
            )
            await problem(409, words, headers={"Retry-After": "1"})(self._scope, receive, send)

    async def _do(self, receive: Receive, send: Send) -> None:
        answer = _Answer(send)
        await self._app(self._scope, receive, answer.send)
        if answer.status is None or answer.status >= 500:
            return  # It may have been done: a connection can break at the very commit.
        if answer.status in _NOTHING_DONE:
            await self._release()
            return
        sealed = None
        if not answer.is_too_large:
            sealed = seal_answer(secret_key(get_settings()), self._key, answer.headers, bytes(answer.body))
        try:
            await self._work(idempotency.keep_answer, status=answer.status, answer=sealed)
        except DatabaseError as error:
            log.warning("answer not kept for a repetition", error=type(error).__name__)

    async def _replay(self, status: int, sealed: bytes | None, receive: Receive, send: Send) -> None:
        opened = open_answer(secret_key(get_settings()), self._key, sealed) if sealed else None
        if opened is None:
            words = f"the request was done (status {status}); its answer was not kept"
            await problem(409, words)(self._scope, receive, send)
            return
        headers, body = opened
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        raw += [(b"idempotency-replayed", b"true"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": body})

    async def _read(self, receive: Receive) -> tuple[bytes | None, Receive]:
        """The body, and the way for the route to read it once more; None for a file, which is read as it comes."""
        if _has_file(self._scope):
            return None, receive
        parts, more = [], True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None, _again(message, receive)
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        body = b"".join(parts)
        return body, _again({"type": "http.request", "body": body, "more_body": False}, receive)

    def _hash(self, body: bytes | None) -> str:
        # Of a file its length has to do: its bytes are read as they come.
        length = Headers(scope=self._scope).get("content-length", "") if body is None else ""
        # Whoever may do less than before is not shown again what he was answered then.
        line = f"{self._scope['path']}?{self._scope['query_string'].decode('latin-1')} {length} {self._may}\n"
        return hashlib.sha256(line.encode() + (body or b"")).hexdigest()

    async def _release(self) -> None:
        try:
            await self._work(idempotency.release_key)
        except DatabaseError as error:
            log.warning("key not released", error=type(error).__name__)

    async def _work(self, query: object, *args: object, **values: object) -> idempotency.Earlier | None:
        assert callable(query)
        return await run_in_threadpool(self._database.run, lambda s: query(s, *self._owner, *args, **values))


def _has_file(scope: Scope) -> bool:
    return Headers(scope=scope).get("content-type", "").startswith("multipart/")


class _Answer:
    """Passes an answer on, and keeps a copy of it."""

    def __init__(self, send: Send) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_too_large = False
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = Headers(raw=message["headers"])
            self.headers = {name: given[name] for name in _REPLAYED_HEADERS if name in given}
        elif message["type"] == "http.response.body" and not self.is_too_large:
            self.body += message.get("body", b"")
            self.is_too_large = len(self.body) > LARGEST_ANSWER
        await self._send(message)


def _again(first: Message, receive: Receive) -> Receive:
    messages = [first]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
