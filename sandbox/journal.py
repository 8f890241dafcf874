"""What was accepted, append-only, and what is still to be reported. One SQLite file; committed before a 2xx leaves."""

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
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
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, due_at REAL NOT NULL, route TEXT NOT NULL, payload BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, posted_at REAL);
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (posted_at, route, due_at);
"""


@dataclass(frozen=True)
class Accepted:
    """One recipient of an accepted request. `uid` is the part of the reference before the dash."""

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
        return self.reference.partition("-")[0]


@dataclass(frozen=True)
class Due:
    """Something to post: an event of SendGrid, or a report or reply of Sendmode."""

    due_at: float
    route: str
    payload: bytes


@dataclass(frozen=True)
class Waiting:
    id: int
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

    def accept(self, rows: Iterable[Accepted], due: Iterable[Due]) -> None:
        """Write what was accepted, and what will be reported about it, in one transaction."""
        values = [
            (
                a.accepted_at,
                a.provider,
                a.request_id,
                a.reference,
                a.uid,
                a.address,
                a.subject,
                a.digest,
                a.parts,
            )
            for a in rows
        ]
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(
                "INSERT INTO accepted (accepted_at, provider, request_id, reference, uid, address, subject, digest,"
                " parts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            self._db.executemany(
                "INSERT INTO outbox (due_at, route, payload) VALUES (?, ?, ?)",
                [(item.due_at, item.route, item.payload) for item in due],
            )
            self._db.execute("COMMIT")

    def due(self, route: str, now: float, limit: int) -> list[Waiting]:
        rows = self._query(
            "SELECT id, payload, attempts FROM outbox WHERE posted_at IS NULL AND route = ? AND due_at <= ?"
            " ORDER BY due_at LIMIT ?",
            (route, now, limit),
        )
        return [Waiting(*row) for row in rows]

    def posted(self, ids: Sequence[int], now: float) -> None:
        self._change("UPDATE outbox SET posted_at = ? WHERE id = ?", [(now, key) for key in ids])

    def postpone(self, ids: Sequence[int], due_at: float) -> None:
        """Not acknowledged: try again then."""
        self._change(
            "UPDATE outbox SET due_at = ?, attempts = attempts + 1 WHERE id = ?", [(due_at, k) for k in ids]
        )

    def outbox_counts(self) -> dict[str, int]:
        [(pending, posted)] = self._query(
            "SELECT count(*) FILTER (WHERE posted_at IS NULL), count(posted_at) FROM outbox"
        )
        return {"pending": pending, "posted": posted}

    def counts(self, uid: str | None) -> dict[str, Any]:
        """Accepted recipients, distinct references among them, and how many were accepted more than once."""
        [(accepted, distinct, parts)] = self._query(
            "SELECT count(*), count(DISTINCT reference), coalesce(sum(parts), 0) FROM accepted"
            " WHERE (?1 IS NULL OR uid = ?1)",
            (uid,),
        )
        providers = dict(
            self._query(
                "SELECT provider, count(*) FROM accepted WHERE (?1 IS NULL OR uid = ?1) GROUP BY provider",
                (uid,),
            )
        )
        return {
            "accepted": accepted,
            "distinct": distinct,
            "duplicates": accepted - distinct,
            "parts": parts,
            "providers": providers,
        }

    def entries(self, uid: str | None, after: int, limit: int) -> list[dict[str, Any]]:
        names = (
            "id",
            "accepted_at",
            "provider",
            "request_id",
            "reference",
            "address",
            "subject",
            "digest",
            "parts",
        )
        rows = self._query(
            f"SELECT {', '.join(names)} FROM accepted WHERE id > ?1 AND (?2 IS NULL OR uid = ?2) ORDER BY id LIMIT ?3",  # noqa: S608
            (after, uid, limit),
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _query(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock, closing(self._db.execute(statement, values)) as cursor:
            return cursor.fetchall()

    def _change(self, statement: str, values: list[tuple[Any, ...]]) -> None:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, values)
            self._db.execute("COMMIT")
