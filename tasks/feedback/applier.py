"""Applies webhooks behind their answers: a few threads a process, many webhooks a transaction."""

from threading import Condition, Lock, Thread

import structlog

from db.engine import Database
from db.queries import webhooks
from db.states import InboxState
from tasks.feedback.apply import BYTES_AT_A_TIME, DELIVERIES_AT_A_TIME, apply_deliveries

log = structlog.get_logger()
_PAUSE_AFTER_ERROR_SECONDS = 1.0
# Reports of SMS come one a POST: those of so long are applied together, at the cost of one.
_GATHERING_SECONDS = 0.05


class Applier:
    """Woken by each webhook that was stored. Several processes may have one: rows in work are passed over.

    While one thread waits for the database another one prepares; more than two or three only wait for each other. On SQLite,
    which has one writer at a time, there is one.
    """

    def __init__(self, database: Database, *, threads: int = 1) -> None:
        self._database = database
        self._changed = Condition()
        self._is_due = False
        self._is_stopping = False
        self._in_work: set[int] = set()
        # Not the condition: whoever notifies must not wait for a database that does not answer.
        self._taking = Lock()
        count = 1 if database.engine.dialect.name == "sqlite" else threads
        self._threads = [
            Thread(target=self._run, name=f"applier-{number}", daemon=True) for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    @property
    def threads(self) -> dict[str, bool]:
        """Its threads by name, and whether each of them lives."""
        return {thread.name: thread.is_alive() for thread in self._threads}

    def notify(self) -> None:
        """Something was stored."""
        with self._changed:
            self._is_due = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Finish what is being applied; the rest waits in the inbox."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._wait():
            try:
                while not self._is_stopping and self._apply_some():
                    pass
            except Exception:
                # The database is away: what is stored stays, and is tried again.
                log.exception("inbox not applied")
                with self._changed:
                    self._is_due = True
                    self._changed.wait_for(lambda: self._is_stopping, _PAUSE_AFTER_ERROR_SECONDS)

    def _wait(self) -> bool:
        """Until there is something to do, and a moment more; False when it is time to stop."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_due or self._is_stopping)
            self._changed.wait_for(lambda: self._is_stopping, _GATHERING_SECONDS)
            self._is_due = False
            return not self._is_stopping

    def _apply_some(self) -> int:
        taken = self._take()
        if not taken:
            return 0
        try:
            return apply_deliveries(self._database, taken)
        finally:
            with self._taking:
                self._in_work -= set(taken)

    def _take(self) -> list[int]:
        """The oldest webhooks that no thread of this process works on."""
        with self._taking:
            with self._database.reading() as session:
                found = webhooks.list_unapplied(
                    session,
                    InboxState.RECEIVED,
                    limit=DELIVERIES_AT_A_TIME,
                    most_bytes=BYTES_AT_A_TIME,
                    without=self._in_work,
                )
            self._in_work |= set(found)
            return found
