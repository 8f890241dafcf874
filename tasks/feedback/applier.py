"""Applies webhooks behind their answers: one thread a process, many webhooks a transaction."""

from threading import Event, Thread

import structlog

from db.engine import Database
from tasks.feedback.apply import apply_waiting

log = structlog.get_logger()
_PAUSE_AFTER_ERROR_SECONDS = 1.0


class Applier:
    """Woken by each webhook that was stored. Several processes may have one: rows in work are passed over."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._wake = Event()
        self._is_stopping = False
        self._thread = Thread(target=self._run, name="applier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def notify(self) -> None:
        """Something was stored."""
        self._wake.set()

    def stop(self) -> None:
        """Finish what is being applied; the rest waits in the inbox."""
        self._is_stopping = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_stopping:
                return
            try:
                apply_waiting(self._database)
            except Exception:
                # The database is away: what is stored stays, and the next webhook or the scheduled flow tries again.
                log.exception("inbox not applied")
                self._wake.wait(_PAUSE_AFTER_ERROR_SECONDS)
