"""Connections, sessions and transactions. The outermost owner of a unit of work calls `Database.run`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from random import SystemRandom
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from db.dialect import engine_options, is_outage, is_retryable, prepare_engine, snapshot_options
from db.errors import DatabaseUrlInvalid
from settings import get_settings

__all__ = [
    "Database",
    "DatabaseError",
    "DatabaseOutage",
    "Session",
    "get_database",
    "is_outage",
    "make_engine",
    "session_factory",
    "when_committed",
]
DatabaseError = DBAPIError
DatabaseOutage = OperationalError
"""What a driver raises; named here, so that other rooms need not know SQLAlchemy."""
T = TypeVar("T")
MAX_ATTEMPTS = 8
# Of the system: those who met must not pause equally long because both were forked, or seeded, alike.
_CHANCE = SystemRandom()


def make_engine(url: str) -> Engine:
    """An engine for `url`.

    Raises:
        DatabaseUrlInvalid: the URL cannot be read or names an unsupported database.
    """
    try:
        parsed = make_url(url)
        family = parsed.get_backend_name()
        if family not in ("sqlite", "mysql", "mariadb"):
            raise DatabaseUrlInvalid(f"{family} is not supported")
        if family == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        # Statements in errors and logs come without their values, which are clients' data.
        engine = create_engine(
            parsed, hide_parameters=True, json_serializer=_as_json, **engine_options(family)
        )
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseUrlInvalid(str(error).split("\n")[0]) from error
    prepare_engine(engine)
    return engine


def _as_json(value: Any) -> str:
    """Without escapes, as the databases write JSON by themselves: MariaDB compares members of a document as text."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except (
        UnicodeEncodeError
    ):  # Half a surrogate pair, of a provider's event for example, is kept as an escape.
        return json.dumps(value)
    return text


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Sessions that keep loaded values after commit: they are handed out as plain facts."""
    return sessionmaker(engine, expire_on_commit=False)


def when_committed(session: Session, work: Callable[[], None]) -> None:
    """Do `work`, which uses no database, after the transaction is committed; never when it is rolled back."""
    event.listen(session, "after_commit", lambda _: work(), once=True)


class Database:
    """One engine and the two ways to use it: reading, and writing in a transaction that may be run again."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._writing = session_factory(engine)
        self._reading = session_factory(engine.execution_options(sqlite_begin="DEFERRED"))
        at_one_moment = snapshot_options(engine.dialect.name)
        self._snapshot = session_factory(engine.execution_options(**at_one_moment))
        # SQLite has one writer at a time and lets the others poll with growing pauses. A queue in front of it keeps
        # the threads of a process from waiting for pauses; servers need no such thing.
        self._writers: AbstractContextManager[object] = (
            Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session for SELECTs; whatever it changed is thrown away."""
        with self._reading() as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session for SELECTs that all see the database as it was at the first of them."""
        with self._snapshot() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction, committed at the end. For work that cannot be run twice; prefer `run`."""
        with self._writers, self._writing.begin() as session:
            yield session

    def run(self, work: Callable[[Session], T]) -> T:
        """Run `work` in one transaction and commit; run all of it again when the database rolled it back.

        `work` must have no effect outside the session.
        """
        return self._run(self._writing, work)

    def run_at_one_moment(self, work: Callable[[Session], T]) -> T:
        """As `run`, and all SELECTs of `work` that lock nothing see the database as it was at the first of them."""
        is_server = self.engine.dialect.name != "sqlite"  # A writer of SQLite is alone anyway.
        return self._run(self._snapshot if is_server else self._writing, work)

    def _run(self, sessions: sessionmaker[Session], work: Callable[[Session], T]) -> T:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                with self._writers, sessions.begin() as session:
                    return work(session)
            except DBAPIError as error:
                if attempt == MAX_ATTEMPTS or not is_retryable(error):
                    raise
                time.sleep(_CHANCE.uniform(0.5, 1.0) * min(0.02 * 2**attempt, 1.0))
        raise AssertionError("unreachable")


@lru_cache
def get_database() -> Database:
    """The database of this process, from `ICS_DATABASE_URL`."""
    return Database(make_engine(get_settings().database_url))
