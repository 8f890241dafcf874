"""The terminal follows executions: by their stream, through a restart of the API, and by asking where no stream comes through."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from api.routers import live
from db.queries import tokens
from deployments import following
from deployments.client import ApiClient, ApiError
from deployments.following import follow
from tasks.live import listeners
from tests.integration.api.running import PATIENCE, RunningApi


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "POLL_SECONDS", 0.05)


@pytest.fixture
def client(running: RunningApi) -> Iterator[ApiClient]:
    with ApiClient(running.url, running.token) as client:
        yield client


def accepted_in(found: tuple[int, Any]) -> int:
    return int(found[1]["messages"]["accepted"])


def until_accepted(pictures: Iterator[tuple[int, Any]], number: int) -> Any:
    return next(found for found in pictures if accepted_in(found) == number)


def test_pictures_come_as_they_change(running: RunningApi, client: ApiClient) -> None:
    pictures = follow(client, [running.execution_id], timeout=PATIENCE)
    execution_id, first = next(pictures)
    assert (execution_id, first["state"]) == (running.execution_id, "sending")
    for number in (1, 2, 3):
        running.set_accepted(number)
        until_accepted(pictures, number)


def test_a_restart_of_the_api_is_survived(running: RunningApi, client: ApiClient) -> None:
    pictures = follow(client, [running.execution_id], timeout=6 * PATIENCE)
    next(pictures)
    running.stop()
    running.set_accepted(2)
    running.start()
    assert until_accepted(pictures, 2)[1]["state"] == "sending"


@pytest.mark.parametrize("what", ["refused", "held back"])
def test_where_no_stream_comes_through_it_asks_and_hears_each_change_once(
    running: RunningApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    if what == "refused":
        monkeypatch.setattr(listeners, "MOST_LISTENERS", 0)
    else:
        monkeypatch.setattr("deployments.client.SILENCE_SECONDS", 0.05)
        monkeypatch.setattr(live, "_events", nothing)
    asked = count_answers(client, monkeypatch)
    pictures = follow(client, [running.execution_id], timeout=PATIENCE)
    assert accepted_in(next(pictures)) == 0
    assert asked.wait(PATIENCE)
    running.set_accepted(2)
    # Asked again and again, and nothing was told of what had not changed.
    assert accepted_in(next(pictures)) == 2


def test_what_cannot_get_better_is_said_at_once(running: RunningApi, client: ApiClient) -> None:
    with pytest.raises(ApiError, match="does not exist") as refused:
        next(follow(client, [running.execution_id + 1], timeout=PATIENCE))
    assert refused.value.status == 404
    running.database.run(lambda s: tokens.revoke_token(s, running.token_id))
    with pytest.raises(ApiError) as unauthenticated:
        next(follow(client, [running.execution_id], timeout=PATIENCE))
    assert unauthenticated.value.status == 401


def test_an_api_that_stays_away_is_given_up(
    running: RunningApi, client: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PATIENCE_SECONDS", 0.2)
    pictures = follow(client, [running.execution_id], timeout=6 * PATIENCE)
    next(pictures)
    running.stop()
    with pytest.raises(ApiError, match="does not answer"):
        for _ in pictures:
            pass


async def nothing(_: listeners.Listener) -> Any:
    """A stream from which a proxy lets nothing through."""
    yield b""
    await asyncio.Event().wait()


def count_answers(client: ApiClient, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the same thing was asked for several times."""
    enough, answers = threading.Event(), []
    original = client.get_if_changed

    def counted(path: str, etag: str | None) -> tuple[str | None, Any]:
        answers.append(path)
        if len(answers) >= 6:
            enough.set()
        return original(path, etag)

    monkeypatch.setattr(client, "get_if_changed", counted)
    return enough
