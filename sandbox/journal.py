"""What was accepted, append-only, and what is still to be reported. One SQLite file; committed before a 2xx leaves.

A commit survives the death of the process at any moment (WAL). It may not survive a power cut: that would cost an
fsync per SMS, and nobody's mail depends on a sandbox.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted (
    id INTEGER PRIMARY KEY, accepted_at REAL NOT NULL, provider TEXT NOT NULL, request_id TEXT NOT NULL,
    reference TEXT NOT NULL, uid TEXT NOT NULL, address TEXT NOT NULL, subject TEXT NOT NULL,
    digest TEXT NOT NULL, parts INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS accepted_uid ON accepted (uid, reference);
CREATE TRIGGER IF NOT EXISTS accepted_stays BEFORE UPDATE ON accepted
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS accepted_is_kept BEFORE DELETE ON accepted
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TABLE IF NOT EXISTS parcels (
    id INTEGER PRIMARY KEY AUTOINCREMENT, due_at REAL NOT NULL, route TEXT NOT NULL, events INTEGER NOT NULL,
    payload BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS parcels_due ON parcels (route, due_at);
CREATE TABLE IF NOT EXISTS posted (one INTEGER PRIMARY KEY CHECK (one = 1), events INTEGER NOT NULL);
INSERT OR IGNORE INTO posted (one, events) VALUES (1, 0);
"""
_ENTRY = ("id", "accepted_at", "provider", "request_id", "reference", "address", "subject", "digest", "parts")
_OF_EXECUTION = "(?1 IS NULL OR uid = ?1)"


@dataclass(frozen=True)
class Accepted:
    """One recipient of an accepted request.

    `accepted_at` in epoch seconds; `request_id` is X-Message-Id or the id of the SMS; `reference` is the sender's own
    id (`<uid>-<message id>`), "" without one; `digest` the SHA-256 of what was sent; `parts` those of an SMS.
    """

    accepted_at: float
    provider: str
    request_id: str
    reference: str
    address: str
    subject: str
    digest: str
    parts: int = 0

    @property
    def uid(self) -> str:
        """The part of the reference before the dash: the execution."""
        return self.reference.partition("-")[0]


@dataclass(frozen=True)
class Parcel:
    """So many events that travel together: ready-made bytes for one route, to be posted at `due_at` (epoch seconds)."""

    due_at: float
    route: str
    events: int
    payload: bytes


@dataclass(frozen=True)
class Waiting:
    """A parcel in the outbox, with how often it was posted in vain."""

    id: int
    events: int
    payload: bytes
    attempts: int


class Journal:
    """Thread-safe: one connection behind a lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)

    def accept(self, rows: Iterable[Accepted], parcels: Iterable[Parcel]) -> None:
        """Write what was accepted, and what will be reported about it, in one transaction."""
        values = [
            (
                *(a.accepted_at, a.provider, a.request_id, a.reference, a.uid),
                a.address,
                a.subject,
                a.digest,
                a.parts,
            )
            for a in rows
        ]
        waiting = [astuple(parcel) for parcel in parcels]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO accepted (accepted_at, provider, request_id, reference, uid, address, subject, digest,"
                " parts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            db.executemany(
                "INSERT INTO parcels (due_at, route, events, payload) VALUES (?, ?, ?, ?)", waiting
            )

    def due(self, route: str, now: float, limit: int) -> list[Waiting]:
        """Parcels of a route whose time has come, the oldest first."""
        rows = self._query(
            "SELECT id, events, payload, attempts FROM parcels WHERE route = ? AND due_at <= ?"
            " ORDER BY due_at LIMIT ?",
            (route, now, limit),
        )
        return [Waiting(*row) for row in rows]

    def posted(self, parcels: Sequence[Waiting]) -> None:
        """Acknowledged: they leave the outbox, which keeps their number only."""
        with self._transaction() as db:
            db.executemany("DELETE FROM parcels WHERE id = ?", [(parcel.id,) for parcel in parcels])
            db.execute("UPDATE posted SET events = events + ?", (sum(parcel.events for parcel in parcels),))

    def postpone(self, parcels: Sequence[Waiting], due_at: float) -> None:
        """Not acknowledged: try again then."""
        with self._transaction() as db:
            db.executemany(
                "UPDATE parcels SET due_at = ?, attempts = attempts + 1 WHERE id = ?",
                [(due_at, parcel.id) for parcel in parcels],
            )

    def outbox_counts(self) -> dict[str, int]:
        """Events that are still to be posted, and those that were acknowledged."""
        [(pending, posted)] = self._query(
            "SELECT (SELECT coalesce(sum(events), 0) FROM parcels), (SELECT events FROM posted)"
        )
        return {"pending": pending, "posted": posted}

    def counts(self, uid: str | None) -> dict[str, Any]:
        """Accepted recipients, distinct references among them, and how many were accepted more than once."""
        [(accepted, distinct, parts)] = self._query(
            "SELECT count(*), count(DISTINCT reference), coalesce(sum(parts), 0) FROM accepted"
            f" WHERE {_OF_EXECUTION}",
            (uid,),
        )
        providers = self._query(
            f"SELECT provider, count(*) FROM accepted WHERE {_OF_EXECUTION} GROUP BY provider", (uid,)
        )
        return {
            "accepted": accepted,
            "distinct": distinct,
            "duplicates": accepted - distinct,
            "parts": parts,
            "providers": dict(providers),
        }

    def duplicates(self, uid: str | None, limit: int) -> dict[str, int]:
        """References that were accepted more than once, with how often."""
        rows = self._query(
            f"SELECT reference, count(*) FROM accepted WHERE {_OF_EXECUTION}"
            " GROUP BY reference HAVING count(*) > 1 ORDER BY reference LIMIT ?2",
            (uid, limit),
        )
        return dict(rows)

    def entries(self, uid: str | None, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries with an id above `after`, in the order of acceptance."""
        rows = self._query(
            f"SELECT {', '.join(_ENTRY)} FROM accepted WHERE {_OF_EXECUTION} AND id > ?2 ORDER BY id LIMIT ?3",
            (uid, after, limit),
        )
        return [dict(zip(_ENTRY, row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
