"""Executions as they change, for the terminal: by server-sent events, and by asking again where these do not come through."""

import time
from collections.abc import Iterator, Sequence
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

from deployments.client import ApiClient, ApiError

POLL_SECONDS = 1.0
# The API is restarted, or its place is taken: the next try may succeed. Anything else will not get better by itself.
_PASSING = (None, 429, 502, 503, 504)
_PATIENCE = 30.0


def follow(client: ApiClient, execution_ids: Sequence[int], *, timeout: float) -> Iterator[tuple[int, Any]]:
    """(execution, picture) of all of them, as they change. Ends never by itself: the caller knows when it has seen enough.

    Raises:
        ApiError: the API refuses, is away for half a minute, or `timeout` seconds are over.
    """
    arrived: Queue[tuple[int, Any] | ApiError] = Queue()
    is_over = Event()
    for execution_id in execution_ids:
        Thread(target=_read, args=(client, execution_id, arrived, is_over), daemon=True).start()
    deadline = time.monotonic() + timeout
    try:
        while True:
            found = arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            if isinstance(found, ApiError):
                raise found
            yield found
    except Empty:
        raise ApiError(f"executions {list(execution_ids)} are not over after {timeout:.0f} s") from None
    finally:
        is_over.set()


def _read(
    client: ApiClient, execution_id: int, arrived: "Queue[tuple[int, Any] | ApiError]", is_over: Event
) -> None:
    try:
        _follow_one(client, execution_id, arrived, is_over)
    except Exception as error:
        # The caller has seen enough, and closed the client under the stream.
        if not is_over.is_set():
            arrived.put(ApiError(f"execution {execution_id} cannot be followed: {error}"))


def _follow_one(
    client: ApiClient, execution_id: int, arrived: "Queue[tuple[int, Any] | ApiError]", is_over: Event
) -> None:
    seen: str | None = None
    heard_at = time.monotonic()
    while not is_over.is_set():
        try:
            for event_id, picture in client.events(f"/api/flow-executions/{execution_id}/events", seen=seen):
                seen, heard_at = event_id, time.monotonic()
                arrived.put((execution_id, picture))
            error = None
        except ApiError as caught:
            error = caught
        if is_over.is_set():
            return
        if error is not None and error.status not in _PASSING:
            arrived.put(error)
            return
        try:
            arrived.put((execution_id, _ask(client, execution_id)))
            heard_at = time.monotonic()
        except ApiError as caught:
            if caught.status not in _PASSING or time.monotonic() - heard_at > _PATIENCE:
                arrived.put(caught)
                return
        time.sleep(POLL_SECONDS)


def _ask(client: ApiClient, execution_id: int) -> dict[str, Any]:
    """The same picture by two requests."""
    execution = client.get(f"/api/flow-executions/{execution_id}")
    stats = client.get(f"/api/flow-executions/{execution_id}/stats")
    has_snapshot = execution["counts"] is not None
    return {**execution, "messages": stats["messages"] if has_snapshot else {}, "sms": stats["sms"]}
