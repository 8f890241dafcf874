"""The durable inbox: what it has taken is committed. Webhooks that arrive together are committed together."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition, Thread

import structlog

from db.engine import Database, is_outage
from db.queries.webhooks import NewDelivery, insert_deliveries

log = structlog.get_logger()
MOST_AT_A_TIME = 200
MOST_BYTES_AT_A_TIME = 4 * 1024 * 1024
MOST_WAITING_BYTES = 64 * 1024 * 1024


# A webhook without a body costs memory too.
_OVERHEAD_BYTES = 1024


class NotStored(Exception):
    """Nothing was promised: the provider has to send it again."""


class InboxFull(NotStored):
    """More arrives than the database takes."""


@dataclass
class _Waiting:
    delivery: NewDelivery
    loop: asyncio.AbstractEventLoop
    stored: "asyncio.Future[None]"

    @property
    def size(self) -> int:
        return len(self.delivery.body) + len(self.delivery.query) + _OVERHEAD_BYTES


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
            NotStored: too much is waiting already, or the database did not take it.
        """
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self.is_full or self._is_stopping:
                raise InboxFull
            self._waiting.append(_Waiting(delivery, loop, stored))
            self._bytes += self._waiting[-1].size
            self._changed.notify()
        await stored

    def _run(self) -> None:
        while some := self._take():
            self._store(some)

    def _store(self, some: Sequence[_Waiting]) -> None:
        try:
            self._database.run(lambda session: insert_deliveries(session, [each.delivery for each in some]))
        except Exception as error:
            if len(some) > 1 and not is_outage(error):
                # One that the database does not take must not keep out the others.
                for each in some:
                    self._store([each])
                return
            log.error("webhooks not stored", webhooks=len(some), error=type(error).__name__)
            _answer(some, error)
        else:
            _answer(some, None)

    def _take(self) -> list[_Waiting]:
        """What waits, as much as fits one transaction; nothing when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
            some: list[_Waiting] = []
            size = 0
            while self._waiting and len(some) < MOST_AT_A_TIME and size < MOST_BYTES_AT_A_TIME:
                some.append(self._waiting.popleft())
                size += some[-1].size
            self._bytes -= size
            return some


def _answer(some: Sequence[_Waiting], error: Exception | None) -> None:
    for waiting in some:
        with suppress(RuntimeError):  # Its loop is closed: nobody waits any more, and what was stored stays.
            waiting.loop.call_soon_threadsafe(_tell, waiting.stored, error)


def _tell(stored: "asyncio.Future[None]", error: Exception | None) -> None:
    if stored.done():  # Whoever waited has gone away; what was stored stays.
        return
    if error is None:
        stored.set_result(None)
    else:
        refusal = NotStored()
        refusal.__cause__ = error
        stored.set_exception(refusal)
