"""Executions as they change, for the terminal: by server-sent events, and by asking again where these do not come through."""

import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

from deployments.client import ApiClient, ApiError

POLL_SECONDS = 1.0
POLLS_AFTER_SILENCE = 20
"""How often to ask before the next try of a stream that brought nothing: a proxy on the way may hold streams back."""
PATIENCE_SECONDS = 30.0
# The API is restarted, or its place is taken: the next try may succeed. Anything else will not get better by itself.
_PASSING = (None, 429, 502, 503, 504)


def follow(client: ApiClient, execution_ids: Sequence[int], *, timeout: float) -> Iterator[tuple[int, Any]]:
    """(execution, picture) of all of them, as they change. Ends never by itself: the caller knows when it has seen enough.

    Raises:
        ApiError: the API refuses, is away for half a minute, or `timeout` seconds are over.
    """
    arrived: Queue[tuple[int, Any] | ApiError] = Queue()
    is_over = Event()
    for execution_id in execution_ids:
        follower = _Follower(client, execution_id, arrived.put, is_over)
        Thread(target=follower.run, daemon=True).start()
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


class _Follower:
    """Follows one execution in a thread, until it is over or there is no hope left."""

    def __init__(
        self,
        client: ApiClient,
        execution_id: int,
        tell: Callable[[tuple[int, Any] | ApiError], None],
        is_over: Event,
    ) -> None:
        self._client = client
        self._id = execution_id
        self._path = f"/api/flow-executions/{execution_id}"
        self._tell = tell
        self._is_over = is_over
        self._failing_since: float | None = None
        self._seen: str | None = None
        self._etags: dict[str, str | None] = {}
        self._answers: dict[str, Any] = {}

    def run(self) -> None:
        try:
            while not self._is_over.is_set():
                polls = 1 if self._stream() else POLLS_AFTER_SILENCE
                for _ in range(polls):
                    self._poll()
                    if self._is_over.wait(POLL_SECONDS):
                        return
        except Exception as error:
            # The caller may have seen enough, and closed the client under the stream.
            if not self._is_over.is_set():
                self._tell(_as_api_error(error, self._id))

    def _stream(self) -> bool:
        """Until it ends or breaks; whether anything came."""
        came = False
        try:
            for event_id, picture in self._client.events(f"{self._path}/events", seen=self._seen):
                self._seen, came = event_id, True
                self._hear(picture)
        except ApiError as error:
            if error.status not in _PASSING:
                raise
        return came

    def _poll(self) -> None:
        """The same picture by two requests, which cost next to nothing while nothing changes."""
        try:
            changed = [self._ask(path) for path in (self._path, f"{self._path}/stats")]
        except ApiError as error:
            self._bear(error)
            return
        self._failing_since = None
        if any(changed):
            execution, stats = self._answers[self._path], self._answers[f"{self._path}/stats"]
            counts = stats["messages"] if execution["counts"] is not None else {}
            self._hear({**execution, "messages": counts, "sms": stats["sms"]})

    def _ask(self, path: str) -> bool:
        etag, answer = self._client.get_if_changed(path, self._etags.get(path))
        if answer is None:
            return False
        self._etags[path], self._answers[path] = etag, answer
        return True

    def _hear(self, picture: dict[str, Any]) -> None:
        self._tell((self._id, picture))

    def _bear(self, error: ApiError) -> None:
        """Raises the error when it will not pass, or has not for too long."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if error.status not in _PASSING or now - self._failing_since > PATIENCE_SECONDS:
            raise error


def _as_api_error(error: Exception, execution_id: int) -> ApiError:
    if isinstance(error, ApiError):
        return error
    return ApiError(f"execution {execution_id} cannot be followed: {error}")
