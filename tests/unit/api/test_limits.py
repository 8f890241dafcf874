"""Bodies: how large they may be, and how long they may take."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Message

from api.limits import BodyLimit


async def length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def answered(pieces: Sequence[bytes], *, pauses: float = 0.0, is_whole: bool = True) -> list[Message]:
    """What is answered to a body that comes in pieces with pauses between them; one that is not whole never ends."""
    app = BodyLimit(Starlette(routes=[Route("/", length, methods=["POST"])]), {"/": 1000})
    sent: list[Message] = []
    waiting = list(pieces)

    async def receive() -> Message:
        await asyncio.sleep(pauses if waiting else 3600)
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting) or not is_whole}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [],
        "query_string": b"",
    }
    asyncio.run(app(scope, receive, send))
    return sent


def status_of(sent: list[Message]) -> int:
    (start,) = [message for message in sent if message["type"] == "http.response.start"]
    return int(start["status"])


def test_a_body_in_pieces_is_counted_as_a_whole() -> None:
    assert status_of(answered([b"x" * 500, b"x" * 500])) == 200
    assert status_of(answered([b"x" * 500, b"x" * 501])) == 413


def test_nothing_more_is_read_of_a_body_that_is_too_large() -> None:
    # The third piece never comes: whoever waits for it waits an hour.
    assert status_of(answered([b"x" * 500, b"x" * 501], is_whole=False)) == 413


def test_a_body_that_stops_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.PATIENCE_SECONDS", 0.05)
    sent = answered([b"x"], is_whole=False)
    assert status_of(sent) == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_body_that_trickles_is_given_up_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.PATIENCE_SECONDS", 0.05)
    assert status_of(answered([b"x"] * 100, pauses=0.01)) == 408


def test_a_body_that_comes_fast_enough_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.limits.PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("api.limits.SLOWEST_BYTES_PER_SECOND", 1000)
    assert status_of(answered([b"x" * 90] * 10, pauses=0.02)) == 200
