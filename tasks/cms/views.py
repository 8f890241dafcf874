"""Counts views without a write for each: kept in the process for seconds, then added to the database at once.

A process that is killed loses the views of its last seconds; sign-ups and conversions are counted where they happen.
"""

from collections import Counter
from datetime import UTC, datetime
from threading import Event, Lock, Thread
from typing import Final

import structlog

from db.engine import Database, DatabaseError
from db.queries.page_counts import MOST_ORIGINS, OTHER, Origin, add_counts
from tasks.cms.utm import Utm

log = structlog.get_logger()
FLUSH_SECONDS: Final = 5.0
_MOST_KEPT: Final = 50 * MOST_ORIGINS


class ViewCounter:
    """The views of this process that the database does not know yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._counts: Counter[Origin] = Counter()
        self._lock = Lock()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="page-views", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Count what is left, and end."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def count(self, page_id: int, utm: Utm) -> None:
        day = datetime.now(UTC).date()
        origin = (page_id, day, *utm)
        with self._lock:
            if origin not in self._counts and len(self._counts) >= _MOST_KEPT:
                origin = (page_id, day, OTHER, OTHER, OTHER)
            self._counts[origin] += 1

    def flush(self) -> None:
        """Add what was counted to the database; keeps it when there is none."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._database.run(lambda s: add_counts(s, "views", counts))
        except DatabaseError as error:
            log.warning("views are not counted yet", error=type(error).__name__)
            with self._lock:
                self._counts.update(counts)

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_SECONDS):
            self.flush()
        self.flush()
