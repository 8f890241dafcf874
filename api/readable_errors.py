"""Problems as pages, where a person in a browser follows a link of ours: JSON would tell them nothing."""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import MEDIA_TYPE
from api.pages.landing_page import NOT_KEPT, message_page

_FOR_PEOPLE: Final = ("/p/", "/unsubscribe/")
_TITLES: Final[Mapping[int, str]] = {
    404: "This link does not work",
    429: "Too many requests",
    503: "Please try again in a moment",
}


class ReadableErrors:
    """Answers whoever asks for HTML under the paths of visitors with a page; programs get the problem document as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_for_people = scope["type"] == "http" and scope["path"].startswith(_FOR_PEOPLE)
        if not (is_for_people and "text/html" in Headers(scope=scope).get("accept", "")):
            await self._app(scope, receive, send)
            return
        rewritten = _Rewritten(send)
        try:
            await self._app(scope, receive, rewritten)
        except Exception:
            # The answer to what nobody foresaw is written outside of all middleware, as JSON. It is still logged there.
            await rewritten.fail()
            raise


class _Rewritten:
    """Holds a problem back until it is complete, and passes on everything else as it comes."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self._is_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            self._is_begun = True
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_page(self._start, orjson.loads(self._body))

    async def fail(self) -> None:
        """An error on our side, unless something was sent already."""
        if not self._is_begun:
            start = {"type": "http.response.start", "status": 500, "headers": []}
            await self._send_page(start, {"detail": "Something went wrong on our side. Please try again."})

    async def _send_page(self, start: Message, document: Mapping[str, Any]) -> None:
        status = start["status"]
        page = error_page(status, str(document.get("detail") or document["title"])).encode()
        replaced = {b"content-type", b"content-length"}
        headers = [(name, value) for name, value in start["headers"] if name.lower() not in replaced]
        ours = {**NOT_KEPT, "Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(page))}
        headers += [(name.lower().encode(), value.encode()) for name, value in ours.items()]
        self._is_begun = True
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": page})


def error_page(status: int, detail: str) -> str:
    """What went wrong, for people."""
    return message_page(_TITLES.get(status, "This did not work"), f'<p role="alert">{escape(detail)}</p>')


def _is_problem(start: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(MEDIA_TYPE.encode())
        for name, value in start["headers"]
    )
