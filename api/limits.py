"""Limits on bodies, counted as they arrive: a Content-Length may lie, and a chunked body has none."""

from collections.abc import Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem

DEFAULT_BYTES = 1024 * 1024


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is larger than its route takes.

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
            await _refuse(allowed, scope, receive, send)
            return
        await self._count(allowed, scope, receive, send)

    async def _count(self, allowed: int, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0
        is_refused = False
        has_begun = False

        async def counted() -> Message:
            nonlocal seen, is_refused
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > allowed:
                is_refused = True
                raise _BodyTooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal has_begun
            if is_refused:
                return
            has_begun = True
            await send(message)

        with suppress(_BodyTooLarge):
            await self._app(scope, counted, watched)
        if is_refused and not has_begun:
            await _refuse(allowed, scope, receive, send)

    def _allowed(self, path: str) -> int:
        return next((size for prefix, size in self._limits if path.startswith(prefix)), DEFAULT_BYTES)


class _BodyTooLarge(Exception):
    pass


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(allowed: int, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem(413, f"this route takes at most {allowed:,} bytes", headers={"Connection": "close"})
    await response(scope, receive, send)
