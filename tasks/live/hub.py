"""Shows executions to listeners as they change, at a cost that does not depend on how many listen.

One task of the process reads the pictures of all executions that somebody listens to, a few statements every half second,
encodes what has changed once, and leaves it where each listener picks it up. A listener has room for one picture, the newest: one
that is slow misses those in between and never makes the process grow. Each API process watches for its own listeners.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from time import monotonic
from weakref import WeakSet

import structlog
from starlette.concurrency import run_in_threadpool

from db.engine import Database
from db.queries.live import Picture, list_pictures
from tasks.live.updates import Update, update_of

log = structlog.get_logger()
INTERVAL_SECONDS = 0.5
MOST_LISTENERS = 1_000
"""Of one process: each holds a connection and a few kilobytes."""
MOST_OF_ONE_TOKEN = 250
CHECK_SECONDS = 30.0


class TooManyListeners(Exception):
    """More than this process, or this token, may have."""


class Listener:
    """One who listens to one execution. `next` gives what they have not seen, when there is something."""

    def __init__(self, execution_id: int, token_id: int, seen: str | None) -> None:
        self.execution_id = execution_id
        self.token_id = token_id
        self._seen = seen
        self._newest: Update | None = None
        self._changed = asyncio.Event()
        self.is_closed = False
        self._checked_at = monotonic()

    def is_check_due(self) -> bool:
        """Whether it is time to see if the listener's token was revoked; True once in `CHECK_SECONDS`."""
        if monotonic() - self._checked_at < CHECK_SECONDS:
            return False
        self._checked_at = monotonic()
        return True

    def offer(self, update: Update) -> None:
        self._newest = update
        if update.id != self._seen:
            self._changed.set()

    def close(self) -> None:
        self.is_closed = True
        self._changed.set()

    async def next(self, within: float) -> Update | None:
        """The newest picture that differs from the last one seen; None when there was none for `within` seconds, or when the
        hub was closed (`is_closed`)."""
        try:
            await asyncio.wait_for(self._changed.wait(), within)
        except TimeoutError:
            return None
        self._changed.clear()
        update = self._newest
        if update is None or update.id == self._seen:  # It changed, and changed back.
            return None
        self._seen = update.id
        return update


class Hub:
    """The listeners of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[int, set[Listener]] = {}
        self._newest: dict[int, Update] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        _hubs.add(self)

    @property
    def count(self) -> int:
        return sum(map(len, self._listeners.values()))

    @asynccontextmanager
    async def listening(
        self, execution_id: int, token_id: int, *, seen: str | None = None
    ) -> AsyncIterator[Listener]:
        """Listen for as long as the block lasts; `seen` is the id of the update that the listener has already.

        Raises:
            TooManyListeners: there is no room.
        """
        listener = self.join(execution_id, token_id, seen=seen)
        try:
            yield listener
        finally:
            self.leave(listener)

    def join(self, execution_id: int, token_id: int, *, seen: str | None = None) -> Listener:
        """As `listening`, until the listener leaves."""
        listener = Listener(execution_id, token_id, seen)
        self._add(listener)
        return listener

    def close(self) -> None:
        """End all listening: the process is about to stop."""
        self._is_closed = True
        for group in self._listeners.values():
            for listener in group:
                listener.close()
        if self._task is not None:
            self._task.cancel()

    def _add(self, listener: Listener) -> None:
        of_token = sum(
            each.token_id == listener.token_id for group in self._listeners.values() for each in group
        )
        if self._is_closed or self.count >= MOST_LISTENERS or of_token >= MOST_OF_ONE_TOKEN:
            raise TooManyListeners
        self._listeners.setdefault(listener.execution_id, set()).add(listener)
        if newest := self._newest.get(listener.execution_id):
            listener.offer(newest)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())

    def leave(self, listener: Listener) -> None:
        group = self._listeners.get(listener.execution_id, set())
        group.discard(listener)
        if not group:
            self._listeners.pop(listener.execution_id, None)
            # Nobody keeps it up to date any more.
            self._newest.pop(listener.execution_id, None)

    async def _watch(self) -> None:
        while self._listeners:
            try:
                pictures = await run_in_threadpool(self._read, list(self._listeners))
            except Exception as error:
                log.warning("pictures of executions not read", error=type(error).__name__)
            else:
                self._offer(pictures)
            await asyncio.sleep(INTERVAL_SECONDS)

    def _read(self, execution_ids: Collection[int]) -> Mapping[int, Picture]:
        with self._database.reading() as session:
            return list_pictures(session, execution_ids)

    def _offer(self, pictures: Mapping[int, Picture]) -> None:
        for execution_id, picture in pictures.items():
            group = self._listeners.get(execution_id)
            update = update_of(document_of(picture))
            before = self._newest.get(execution_id)
            if not group or (before is not None and before.id == update.id):
                continue
            self._newest[execution_id] = update
            for listener in group:
                listener.offer(update)


def document_of(picture: Picture) -> dict[str, object]:
    """As it is shown; `ended` tells that nothing more is sent, though events may still come in."""
    return {**asdict(picture), "ended": picture.state.is_final}


def close_hubs() -> None:
    """End all listening in this process, so that its open streams do not keep it from stopping."""
    for hub in list(_hubs):
        hub.close()


_hubs: "WeakSet[Hub]" = WeakSet()
