"""Executions as they change, over real sockets: server-sent events, WebSockets, and polling with ETags."""

import itertools
import json
import queue
import re
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from api.routers import live
from db.models import FlowExecution
from db.queries import tokens
from db.states import ExecutionState
from tasks.live import hub as hubs
from tasks.live import listeners
from tasks.live.hub import Hub, Seen
from tasks.live.updates import Update
from tests.builders import add_campaign, prepared
from tests.integration.api.running import PATIENCE, RunningApi


class Stream:
    """A listener in a thread of its own; what arrives waits in a queue, and the end is None."""

    def __init__(self, url: str, **options: Any) -> None:
        self.arrived: queue.Queue[Any] = queue.Queue()
        self.count = 0
        self._client = httpx.Client(trust_env=False, timeout=PATIENCE)
        self._response = self._client.send(self._client.build_request("GET", url, **options), stream=True)
        self.status = self._response.status_code
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> Any:
        """The next event as (id, picture); None at the end."""
        return self.arrived.get(timeout=PATIENCE)

    def next_with(self, accepted: int) -> Any:
        """The first event that counts so many accepted messages: those in between may have been passed over."""
        while True:
            found = self.next()
            assert found is not None
            if found[1]["messages"]["accepted"] == accepted:
                return found

    def close(self) -> None:
        self._response.close()
        self._client.close()

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self._response.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    self.count += 1
                    self.arrived.put((fields["id"], json.loads(fields["data"])))
                    fields = {}
        except (httpx.HTTPError, httpx.StreamError):
            pass
        self.close()
        self.arrived.put(None)


def test_a_listener_sees_the_whole_picture_and_each_change(running: RunningApi) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    _, first = stream.next()
    assert (first["state"], first["ended"]) == ("sending", False)
    assert first["messages"]["pending"] == 3
    started = time.monotonic()
    running.set_accepted(2)
    stream.next_with(accepted=2)
    assert time.monotonic() - started < 1.0
    stream.close()


def test_who_comes_back_gets_only_what_is_different(running: RunningApi) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    seen, _ = stream.next()
    stream.close()
    again = Stream(running.events_url, headers={**running.headers, "Last-Event-ID": seen})
    with pytest.raises(queue.Empty):
        again.arrived.get(timeout=0.3)
    running.set_accepted(1)
    assert again.next_with(accepted=1)[0] != seen
    again.close()


@pytest.mark.parametrize("how", ["Last-Event-ID", "last_event_id"])
def test_who_has_it_all_is_told_nothing(running: RunningApi, how: str) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    seen, _ = stream.next()
    in_header = {"Last-Event-ID": seen} if how == "Last-Event-ID" else {}
    in_query = {} if in_header else {"last_event_id": seen}
    again = Stream(running.events_url, headers={**running.headers, **in_header}, params=in_query)
    running.set_accepted(2)
    assert again.next_with(accepted=2)[0] == stream.next_with(accepted=2)[0]
    # The first of them came before that, and only to the one who did not have it.
    assert again.count == 1
    for each in (stream, again):
        each.close()


def test_a_websocket_tells_the_same(running: RunningApi) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    with connect(running.socket_url, additional_headers=running.headers, proxy=None) as listening:
        message = json.loads(listening.recv(PATIENCE))
        assert (message["id"], message["execution"]) == stream.next()
        running.set_accepted(3)
        assert json.loads(listening.recv(PATIENCE))["execution"]["messages"]["accepted"] == 3
        seen = message["id"]
    with connect(
        f"{running.socket_url}?last_event_id={seen}", additional_headers=running.headers, proxy=None
    ) as again:
        assert json.loads(again.recv(PATIENCE))["execution"]["messages"]["accepted"] == 3
    stream.close()


def test_all_listeners_get_the_same_update(running: RunningApi) -> None:
    streams = [Stream(running.events_url, headers=running.headers) for _ in range(20)]
    first = [stream.next() for stream in streams]
    assert first == [first[0]] * 20
    running.set_accepted(2)
    assert len({stream.next_with(accepted=2)[0] for stream in streams}) == 1
    for stream in streams:
        stream.close()


def test_a_ticket_stands_in_for_the_token_where_no_header_can_be_sent(running: RunningApi) -> None:
    path = f"{running.url}/api/flow-executions/{running.execution_id}/live-ticket"
    answer = httpx.post(path, headers=running.headers, trust_env=False).json()
    assert answer["expires_in"] == 60
    stream = Stream(f"{running.events_url}?ticket={answer['ticket']}")
    assert stream.next()[1]["execution_id"] == running.execution_id
    stream.close()
    with connect(f"{running.socket_url}?ticket={answer['ticket']}", proxy=None) as listening:
        assert json.loads(listening.recv(PATIENCE))["execution"]["execution_id"] == running.execution_id
    other = running.database.run(lambda s: prepared(s, add_campaign(s, name="Other")))
    url = f"{running.url}/api/flow-executions/{other.id}/events?ticket={answer['ticket']}"
    assert httpx.get(url, trust_env=False).status_code == 401


@pytest.mark.parametrize("ticket", ["", "1-1-9999999999.0123456789abcdef", "x", "1-1", "²-1-1.x"])
def test_nobody_listens_without_a_good_token_or_ticket(running: RunningApi, ticket: str) -> None:
    assert httpx.get(running.events_url, trust_env=False).status_code == 401
    assert httpx.get(f"{running.events_url}?ticket={ticket}", trust_env=False).status_code == 401
    assert close_code(f"{running.socket_url}?ticket={ticket}") == 4401


def test_a_ticket_is_no_better_than_its_token(running: RunningApi) -> None:
    path = f"{running.url}/api/flow-executions/{running.execution_id}/live-ticket"
    ticket = httpx.post(path, headers=running.headers, trust_env=False).json()["ticket"]
    running.database.run(lambda s: tokens.revoke_token(s, running.token_id))
    assert httpx.get(f"{running.events_url}?ticket={ticket}", trust_env=False).status_code == 401
    assert close_code(f"{running.socket_url}?ticket={ticket}") == 4401


def test_what_does_not_exist_is_not_found(running: RunningApi) -> None:
    gone = running.execution_id + 1
    answer = httpx.get(
        f"{running.url}/api/flow-executions/{gone}/events", headers=running.headers, trust_env=False
    )
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    url = running.socket_url.replace(f"/{running.execution_id}/", f"/{gone}/")
    assert close_code(url, headers=running.headers) == 4404


def test_without_a_database_nobody_begins_to_listen(
    running: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise OperationalError("SELECT 1", {}, ConnectionError())

    monkeypatch.setattr(live, "_admit", fail)
    assert httpx.get(running.events_url, headers=running.headers, trust_env=False).status_code == 503
    assert close_code(running.socket_url, headers=running.headers) == 1013


def test_a_revoked_token_stops_hearing(running: RunningApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "CHECK_SECONDS", 0.0)
    stream = Stream(running.events_url, headers=running.headers)
    assert stream.next() is not None
    with connect(running.socket_url, additional_headers=running.headers, proxy=None) as listening:
        listening.recv(PATIENCE)
        running.database.run(lambda s: tokens.revoke_token(s, running.token_id))
        assert ended(lambda: listening.recv(PATIENCE)) == 4401
    while stream.next() is not None:
        pass


def test_more_listeners_than_there_is_room_for_are_told_to_poll(
    running: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "MOST_OF_ONE_TOKEN", 1)
    stream = Stream(running.events_url, headers=running.headers)
    stream.next()
    answer = httpx.get(running.events_url, headers=running.headers, trust_env=False)
    assert answer.status_code == 429
    assert close_code(running.socket_url, headers=running.headers) == 4429
    stream.close()


def test_the_api_stops_at_once_though_somebody_listens(running: RunningApi) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    stream.next()
    with connect(running.socket_url, additional_headers=running.headers, proxy=None) as listening:
        listening.recv(PATIENCE)
        started = time.monotonic()
        running.stop()
        assert not running.thread.is_alive()
        assert time.monotonic() - started < 4.0
        assert ended(lambda: listening.recv(PATIENCE)) == 1012
    while stream.next() is not None:
        pass


def test_a_slow_listener_holds_up_nobody_and_skips_to_the_newest(running: RunningApi) -> None:
    """Megabytes that it does not read are not kept for it."""
    numbers = itertools.count()

    def look(execution_ids: Collection[int], token_ids: Collection[int]) -> Seen:
        update = Update.of({"n": next(numbers), "padding": "x" * 1_000_000})
        return Seen({running.execution_id: update}, token_ids)

    running.app.state.hub = Hub(look)
    with raw_stream(running) as slow:
        swift = Stream(running.events_url, headers=running.headers)
        while swift.next()[1]["n"] < 40:
            pass
        swift.close()
        heard = [int(number) for number in numbers_in(slow, until=40)]
    # What the two sockets hold is a few of them.
    assert len(heard) < 20
    assert heard == sorted(heard)


def raw_stream(running: RunningApi) -> socket.socket:
    """A listener that reads when it is told to, and is gone when its socket is closed."""
    connection = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])), PATIENCE)
    path = f"/api/flow-executions/{running.execution_id}/events"
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.token}\r\n\r\n".encode()
    )
    assert connection.recv(15) == b"HTTP/1.1 200 OK"
    return connection


def numbers_in(connection: socket.socket, *, until: int) -> Iterator[int]:
    """The numbers of the updates that arrive, up to the first that is at least `until`."""
    pending = b""
    while True:
        pending += connection.recv(1 << 20)
        for found in re.findall(rb'"n":(\d+),', pending):
            yield int(found)
            if int(found) >= until:
                return
        pending = pending[-20:] if b'"n":' not in pending[-20:] else pending[pending.rindex(b'"n":') :]


def test_what_a_listener_says_is_not_listened_to(running: RunningApi) -> None:
    with connect(running.socket_url, additional_headers=running.headers, proxy=None) as listening:
        listening.recv(PATIENCE)
        for _ in range(100):
            listening.send("x" * 10_000)
        # uvicorn answers a ping only when it has read what came before it.
        assert listening.ping().wait(PATIENCE)
        running.set_accepted(1)
        assert json.loads(listening.recv(PATIENCE))["execution"]["messages"]["accepted"] == 1


def test_who_goes_away_gives_the_place_back_at_once(running: RunningApi) -> None:
    with (
        raw_stream(running),
        connect(running.socket_url, additional_headers=running.headers, proxy=None) as listening,
    ):
        listening.recv(PATIENCE)
        assert running.hub.count == 2
    deadline = time.monotonic() + PATIENCE
    while running.hub.count:
        assert time.monotonic() < deadline, "a place is kept for somebody who has gone"
        time.sleep(0.01)
    assert live.HEARTBEAT_SECONDS > PATIENCE


def test_an_execution_that_is_over_says_so(running: RunningApi) -> None:
    stream = Stream(running.events_url, headers=running.headers)
    stream.next()

    def finish(session: Any) -> None:
        mine = update(FlowExecution).where(FlowExecution.id == running.execution_id)
        session.execute(mine.values(state=ExecutionState.COMPLETED))

    running.database.run(finish)
    assert stream.next()[1]["ended"] is True
    stream.close()


@pytest.mark.parametrize("path", ["", "/stats"])
def test_polling_costs_nothing_while_nothing_changes(running: RunningApi, path: str) -> None:
    url = f"{running.url}/api/flow-executions/{running.execution_id}{path}"
    first = httpx.get(url, headers=running.headers, trust_env=False)
    etag = first.headers["etag"]
    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        same = httpx.get(url, headers={**running.headers, "If-None-Match": sent}, trust_env=False)
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    running.set_accepted(1)
    other = httpx.get(url, headers={**running.headers, "If-None-Match": etag}, trust_env=False)
    assert (other.status_code, other.headers["etag"] != etag) == (200, True)


def test_a_ticket_needs_a_token(anonymous: TestClient) -> None:
    assert anonymous.post("/api/flow-executions/1/live-ticket").status_code == 401


def close_code(url: str, headers: dict[str, str] | None = None) -> int:
    with connect(url, additional_headers=headers, proxy=None) as listening:
        return ended(lambda: listening.recv(PATIENCE))


def ended(receive: Callable[[], Any]) -> int:
    """The code with which the other side closes; what still arrives before is passed over."""
    while True:
        try:
            receive()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006
