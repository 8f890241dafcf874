"""Limits on bodies, counted as they arrive: a Content-Length may lie, and a chunked body has none.

Nor may a body take for ever: the server itself waits without end for the rest of it.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

DEFAULT_BYTES = 1024 * 1024
PATIENCE_SECONDS: Final = 30.0
SLOWEST_BYTES_PER_SECOND: Final = 10_000
"""A body has `PATIENCE_SECONDS`, and a second more for each so many bytes that have come."""


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is larger than its route takes, and 408 when it comes too slowly.

    `limits` maps beginnings of paths to bytes; the longest that fits is used.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limits = sorted(limits.items(), key=lambda item: -len(item[0]))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        allowed = self._allowed(scope["path"])
        if _declared(scope) > allowed:
            await _refuse(413, _too_large(allowed), scope, receive, send)
            return
        await self._count(allowed, scope, receive, send)

    async def _count(self, allowed: int, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(allowed, receive)
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            if body.refusal:
                return
            has_begun = True
            await send(message)

        with suppress(_BodyRefused):
            await self._app(scope, body.receive, watched)
        if body.refusal and not has_begun:
            await _refuse(*body.refusal, scope, receive, send)

    def _allowed(self, path: str) -> int:
        return next((size for prefix, size in self._limits if path.startswith(prefix)), DEFAULT_BYTES)


class _BodyRefused(Exception):
    pass


class _Body:
    """A body on its way in. `refusal` is why it is not taken: status and words."""

    def __init__(self, allowed: int, receive: Receive) -> None:
        self.refusal: tuple[int, str] | None = None
        self._allowed = allowed
        self._receive = receive
        self._began: float | None = None
        self._seen = 0
        self._is_complete = False

    async def receive(self) -> Message:
        if self._is_complete:  # Whoever asks now wants to know when the client goes away.
            return await self._receive()
        message = await self._next()
        self._seen += len(message.get("body", b""))
        self._is_complete = not message.get("more_body", False)
        if self._seen > self._allowed:
            raise self._refuse(413, _too_large(self._allowed))
        return message

    async def _next(self) -> Message:
        if self._began is None:
            self._began = monotonic()
        left = self._began + PATIENCE_SECONDS + self._seen / SLOWEST_BYTES_PER_SECOND - monotonic()
        try:
            async with asyncio.timeout(left):
                return await self._receive()
        except TimeoutError:
            raise self._refuse(408, "the body came too slowly") from None

    def _refuse(self, status: int, words: str) -> _BodyRefused:
        self.refusal = (status, words)
        return _BodyRefused()


def _too_large(allowed: int) -> str:
    return f"this route takes at most {allowed:,} bytes"


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(status: int, words: str, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem(status, words, headers={"Connection": "close"})
    await response(scope, receive, send)
