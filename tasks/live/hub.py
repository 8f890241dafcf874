"""Shows executions to listeners as they change, at a cost that hardly depends on how many listen.

One task of the process reads the pictures of all executions that somebody listens to, a few statements every half second, has what
changed encoded once, and leaves it where each listener picks it up. Nothing is read while nobody listens. Each API process
watches for its own listeners.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import Context
from dataclasses import asdict, dataclass
from functools import partial
from time import monotonic
from typing import TypeVar
from weakref import WeakSet

import structlog
from anyio import CapacityLimiter, to_thread

from db.engine import Database
from db.queries.live import Picture, list_pictures
from db.queries.tokens import list_active_tokens
from tasks.live.listeners import Listener, Listeners, TooManyListeners
from tasks.live.updates import Update

log = structlog.get_logger()
INTERVAL_SECONDS = 0.5
CHECK_SECONDS = 20.0
"""How often tokens of listeners are looked at again: who is revoked hears no more after that."""


DOOR_WIDTH = 2
"""So many are looked up at once before they may listen: after a restart hundreds come back in one moment, and each thread that
asks the database for them wants a connection of its own."""
T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """What one look found: updates by execution, and which of the tokens that were asked for are active."""

    updates: Mapping[int, Update]
    active_tokens: Collection[int]


Look = Callable[[Collection[int], Collection[int]], Seen]
"""Of (ids of executions, ids of tokens); called in a thread."""


class Hub:
    """The listeners of one process, and the task that watches for them."""

    def __init__(self, look: Look, *, clock: Callable[[], float] = monotonic) -> None:
        self._look = look
        self._clock = clock
        self._listeners = Listeners()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._checked_at = clock()
        # A thread of its own: when all others are busy with requests, listeners still hear of it.
        self._thread = CapacityLimiter(1)
        self._door = CapacityLimiter(DOOR_WIDTH)
        _hubs.add(self)

    @property
    def count(self) -> int:
        return len(self._listeners)

    def knows(self, execution_id: int) -> bool:
        """Whether there is such an execution for certain, since it is being watched."""
        return self._listeners.has_picture_of(execution_id)

    @property
    def is_watching(self) -> bool:
        return self._task is not None and not self._task.done()

    async def at_the_door(self, work: Callable[[], T]) -> T:
        """What `work` returns; it runs in a thread, when its turn has come."""
        return await to_thread.run_sync(work, limiter=self._door)

    def join(self, execution_id: int, token_id: int, *, seen: str | None = None) -> Listener:
        """Listen until `leave`; `seen` is the id of the update that the listener has already.

        Raises:
            TooManyListeners: there is no room, or the process is about to stop.
        """
        if self._is_closed:
            raise TooManyListeners
        listener = Listener(execution_id, token_id, seen)
        self._listeners.add(listener)
        if not self.is_watching:
            # In a context of its own: it works for all, and not on behalf of the request that happens to start it.
            self._task = asyncio.create_task(self._watch(), context=Context())
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    @contextmanager
    def listening(self, execution_id: int, token_id: int, *, seen: str | None = None) -> Iterator[Listener]:
        """As `join`, for as long as the block lasts."""
        listener = self.join(execution_id, token_id, seen=seen)
        try:
            yield listener
        finally:
            self.leave(listener)

    def close(self) -> None:
        """End all listening: the process is about to stop."""
        self._is_closed = True
        self._listeners.close()
        if self._task is not None:
            self._task.cancel()

    async def _watch(self) -> None:
        while self._listeners:
            tokens = self._tokens_to_check()
            work = partial(self._look, self._listeners.execution_ids, tokens)
            try:
                seen = await to_thread.run_sync(work, limiter=self._thread)
            except Exception as error:
                # The database is away: who listens stays, and hears of it when it is back.
                log.warning("pictures of executions not read", error=type(error).__name__)
            else:
                self._show(seen, tokens)
            await asyncio.sleep(INTERVAL_SECONDS)

    def _tokens_to_check(self) -> list[int]:
        if self._clock() - self._checked_at < CHECK_SECONDS:
            return []
        return self._listeners.token_ids

    def _show(self, seen: Seen, tokens: Collection[int]) -> None:
        for execution_id, update in seen.updates.items():
            self._listeners.offer(execution_id, update)
        if tokens:
            self._checked_at = self._clock()
            self._listeners.keep(seen.active_tokens, tokens)


def hub_of(database: Database) -> Hub:
    return Hub(partial(_look, database))


def _look(database: Database, execution_ids: Collection[int], token_ids: Collection[int]) -> Seen:
    with database.reading() as session:
        pictures = list_pictures(session, execution_ids)
        active = list_active_tokens(session, token_ids) if token_ids else set()
    return Seen({key: Update.of(_document(picture)) for key, picture in pictures.items()}, active)


def _document(picture: Picture) -> dict[str, object]:
    """As it is shown; `ended` tells that nothing more is sent, though events may still come in."""
    return {**asdict(picture), "ended": picture.state.is_final}


def close_hubs() -> None:
    """End all listening in this process, so that its open streams do not keep it from stopping."""
    for hub in list(_hubs):
        hub.close()


_hubs: "WeakSet[Hub]" = WeakSet()
