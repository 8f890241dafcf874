"""Who listens to which execution in this process, and what each of them has not seen yet.

A listener has room for one update, the newest: one that is slow misses those in between and never makes the process grow.
All of it belongs to one event loop.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterator
from enum import Enum

from tasks.live.updates import Update

MOST_LISTENERS = 1_000
"""Of one process: each holds a connection and some ten kilobytes, and is written to twice a second."""
MOST_OF_ONE_TOKEN = 250
"""A team that watches one blast fits; a page that opens streams without end does not take the place of all others."""


class TooManyListeners(Exception):
    """More than this process, or this token, may have."""


class End(Enum):
    """Why a listener gets nothing more."""

    REVOKED = "revoked"
    STOPPING = "stopping"


class Listener:
    """One who listens to one execution. `seen` is the id of the update that they have already."""

    def __init__(self, execution_id: int, token_id: int, seen: str | None) -> None:
        self.execution_id = execution_id
        self.token_id = token_id
        self.end: End | None = None
        self._seen = seen
        self._newest: Update | None = None
        self._is_woken = asyncio.Event()

    def offer(self, update: Update) -> None:
        self._newest = update
        if update.id != self._seen:
            self._is_woken.set()

    def close(self, end: End) -> None:
        self.end = end
        self._is_woken.set()

    async def next(self, within: float) -> Update | None:
        """The newest update that differs from the last one seen; None when there was none for `within` seconds, and when the
        listening is over (`end`)."""
        try:
            await asyncio.wait_for(self._is_woken.wait(), within)
        except TimeoutError:
            return None
        self._is_woken.clear()
        update = self._newest
        if self.end or update is None or update.id == self._seen:  # It changed, and changed back.
            return None
        self._seen = update.id
        return update


class Listeners:
    """All of this process, by execution, and the newest update of each execution."""

    def __init__(self) -> None:
        self._groups: dict[int, set[Listener]] = {}
        self._newest: dict[int, Update] = {}
        self._tokens: Counter[int] = Counter()

    def __len__(self) -> int:
        return self._tokens.total()

    def __iter__(self) -> Iterator[Listener]:
        return (listener for group in list(self._groups.values()) for listener in list(group))

    @property
    def execution_ids(self) -> list[int]:
        return list(self._groups)

    @property
    def token_ids(self) -> list[int]:
        return list(self._tokens)

    def has_picture_of(self, execution_id: int) -> bool:
        """Whether the execution is listened to, and was found."""
        return execution_id in self._newest

    def add(self, listener: Listener) -> None:
        """Take a listener in; they get at once what is known and they have not seen.

        Raises:
            TooManyListeners: there is no room.
        """
        if len(self) >= MOST_LISTENERS or self._tokens[listener.token_id] >= MOST_OF_ONE_TOKEN:
            raise TooManyListeners
        self._tokens[listener.token_id] += 1
        self._groups.setdefault(listener.execution_id, set()).add(listener)
        if newest := self._newest.get(listener.execution_id):
            listener.offer(newest)

    def remove(self, listener: Listener) -> None:
        """Let a listener go; nothing happens when they have gone already."""
        group = self._groups.get(listener.execution_id, set())
        if listener not in group:
            return
        group.remove(listener)
        self._tokens[listener.token_id] -= 1
        self._tokens += Counter()  # Drops what is 0.
        if not group:
            del self._groups[listener.execution_id]
            # Nobody keeps it up to date any more.
            self._newest.pop(listener.execution_id, None)

    def offer(self, execution_id: int, update: Update) -> None:
        """To all who listen to this execution, when it is something new."""
        group = self._groups.get(execution_id)
        before = self._newest.get(execution_id)
        if not group or (before is not None and before.id == update.id):
            return
        self._newest[execution_id] = update
        for listener in group:
            listener.offer(update)

    def keep(self, active_tokens: Collection[int], asked: Collection[int]) -> None:
        """End the listening of those tokens that were `asked` for and are not active."""
        for listener in self:
            if listener.token_id in asked and listener.token_id not in active_tokens:
                listener.close(End.REVOKED)

    def close(self) -> None:
        for listener in self:
            listener.close(End.STOPPING)
