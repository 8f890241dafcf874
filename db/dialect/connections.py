"""Engines and connections: options, limits of time, and which errors are worth another try."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    event,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from db.dialect.documents import Document, quoted_document
from db.dialect.statements import GATHERED_BYTES
from db.errors import TookTooLong
from db.segments.texts import fold

# 1020 record changed since last read (MariaDB >= 11.6.2), 1205 lock wait time-out, 1213 deadlock.
_RETRYABLE_MYSQL = {1020, 1205, 1213}
# Too many connections, shutting down, table or disk full, crashed, read-only; no server, gone, lost.
_OUTAGES = {1040, 1053, 1021, 1114, 1194, 1290, 1836, 2002, 2003, 2006, 2013, 2014, 2055}
_SQLITE_OUTAGES = (
    "unable to open database file",
    "disk I/O error",
    "database or disk is full",
    "readonly database",
)
# What ends a statement that reached its time limit: MariaDB, MySQL, SQLite.
_TIMED_OUT = {1969, 3024, "interrupted"}
_SQLITE_STEPS = 10_000


@contextmanager
def time_limit(session: Session, what: str, seconds: float) -> Iterator[None]:
    """Each SELECT of the block that runs for longer is given up. The session can be used afterwards.

    Raises:
        TookTooLong: says that `what` takes too long.
    """
    connection = session.connection()
    try:
        with _limited(connection, seconds):
            yield
    except DBAPIError as error:
        code = error.orig.args[0] if error.orig is not None and error.orig.args else None
        if code in _TIMED_OUT:
            raise TookTooLong(what, seconds) from None
        raise


@contextmanager
def _limited(connection: Connection, seconds: float) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        deadline = monotonic() + seconds
        driver.set_progress_handler(lambda: monotonic() > deadline, _SQLITE_STEPS)
        try:
            yield
        finally:
            driver.set_progress_handler(None, 0)
        return
    if getattr(connection.dialect, "is_mariadb", False):
        name, value = "max_statement_time", f"{seconds:.3f}"
    else:
        name, value = "max_execution_time", str(max(1, round(seconds * 1000)))
    connection.exec_driver_sql(f"SET SESSION {name} = {value}")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.exec_driver_sql(f"SET SESSION {name} = DEFAULT")


def is_retryable(error: BaseException) -> bool:
    """Whether the whole transaction was rolled back by the database and may simply be run again."""
    if not isinstance(error, DBAPIError) or error.connection_invalidated:
        return False
    if "database is locked" in str(error.orig):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return code in _RETRYABLE_MYSQL


def is_outage(error: BaseException) -> bool:
    """Whether the database is away, full or busy: the same work may succeed later, whatever it is."""
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated or is_retryable(error):
        return True
    if any(words in str(error.orig) for words in _SQLITE_OUTAGES):
        return True
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return code in _OUTAGES


def engine_options(url_name: str) -> dict[str, Any]:
    """Arguments of `create_engine` for the database family of the URL."""
    if url_name == "sqlite":
        return {"connect_args": {"timeout": 30, "check_same_thread": False}}
    from pymysql.converters import conversions

    return {
        "isolation_level": "READ COMMITTED",
        "pool_pre_ping": True,
        "pool_recycle": 1800,
        # Kept, once they are there: to connect costs 20 ms of Python's time, most of it to read certificates for TLS.
        "pool_size": 30,
        "max_overflow": 0,
        "pool_use_lifo": True,
        "connect_args": {
            "connect_timeout": 10,
            "charset": "utf8mb4",
            "conv": {**conversions, Document: quoted_document},
            "init_command": "SET time_zone = '+00:00', sql_mode = 'TRADITIONAL,ONLY_FULL_GROUP_BY',"
            # Many rows are read as one text; see `gathered`.
            f" group_concat_max_len = {GATHERED_BYTES}",
        },
    }


def snapshot_options(url_name: str) -> dict[str, Any]:
    """Execution options of an engine whose transactions see one moment of the database in all their statements."""
    if url_name == "sqlite":
        return {"sqlite_begin": "DEFERRED"}
    return {"isolation_level": "REPEATABLE READ"}


def _unhex(text: str | None) -> bytes | None:
    """SQLite has it since 3.41."""
    return None if text is None else bytes.fromhex(text)


def prepare_engine(engine: Engine) -> None:
    """Set what SQLite needs on each connection and transaction; nothing to do for the servers."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            "busy_timeout = 30000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("ics_fold", 1, _fold, deterministic=True)
        connection.create_function("UNHEX", 1, _unhex, deterministic=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A writer takes the lock at once: an upgrade in the middle of a transaction could not be waited for.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")


def _fold(value: object) -> object:
    return fold(value) if isinstance(value, str) else value
