"""The durable inbox: what it has taken is committed. Webhooks that arrive together are committed together."""

import asyncio
from collections import deque
from dataclasses import dataclass
from threading import Condition, Thread

import structlog

from db.engine import Database
from db.queries.webhooks import NewDelivery, insert_deliveries

log = structlog.get_logger()
MOST_AT_A_TIME = 200
MOST_BYTES_AT_A_TIME = 4 * 1024 * 1024
MOST_WAITING_BYTES = 64 * 1024 * 1024


class InboxFull(Exception):
    """More arrives than the database takes: the provider has to try again later."""


@dataclass
class _Waiting:
    delivery: NewDelivery
    loop: asyncio.AbstractEventLoop
    stored: "asyncio.Future[None]"


class Inbox:
    """One thread commits all webhooks that wait at that moment: a commit costs a flush of the disk, however many it is for.

    `store` returns when its webhook is committed, and raises what kept it from being so.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = Condition()
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, and end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs that commits."""
        return self._thread.is_alive()

    @property
    def waiting_bytes(self) -> int:
        """Of webhooks that are not committed yet."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """It takes nothing now."""
        return self._bytes > MOST_WAITING_BYTES

    async def store(self, delivery: NewDelivery) -> None:
        """Return when the webhook is committed.

        Raises:
            InboxFull: too much is waiting already.
            DatabaseError: the database did not take it. Nothing was promised: the provider sends it again.
        """
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self.is_full or self._is_stopping:
                raise InboxFull
            self._waiting.append(_Waiting(delivery, loop, stored))
            self._bytes += len(delivery.body)
            self._changed.notify()
        await stored

    def _run(self) -> None:
        while some := self._take():
            try:
                self._database.run(lambda s, some=some: insert_deliveries(s, [w.delivery for w in some]))  # type: ignore[misc]
                error = None
            except Exception as caught:
                log.error("webhooks not stored", webhooks=len(some), error=type(caught).__name__)
                error = caught
            for waiting in some:
                _answer(waiting, error)

    def _take(self) -> list[_Waiting]:
        """What waits, as much as fits one transaction; nothing when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            some: list[_Waiting] = []
            size = 0
            while self._waiting and len(some) < MOST_AT_A_TIME and size < MOST_BYTES_AT_A_TIME:
                some.append(self._waiting.popleft())
                size += len(some[-1].delivery.body)
            self._bytes -= size
            return some


def _answer(waiting: _Waiting, error: Exception | None) -> None:
    def answer() -> None:
        if waiting.stored.done():  # Whoever waited has gone away; what was stored stays.
            return
        if error is None:
            waiting.stored.set_result(None)
        else:
            waiting.stored.set_exception(error)

    waiting.loop.call_soon_threadsafe(answer)
