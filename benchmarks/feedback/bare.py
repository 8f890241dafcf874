"""The bare limit of feedback: the rows of the same events into a table like `events`, 1,000 a commit, and nothing else."""

import time
from collections.abc import Sequence
from typing import Any

import pymysql
from sqlalchemy import make_url

from benchmarks.feedback.events import EVENTS_A_POST
from benchmarks.measured import Row
from db.models import Event

_TABLE = "bench_events"


def insert_at_the_limit(database_url: str) -> Row:
    """The events that were applied before, once more, by one connection."""
    url = make_url(database_url)
    connection = pymysql.connect(
        host=url.host,
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
    )
    with connection, connection.cursor() as cursor:
        names = ", ".join(column.name for column in Event.__table__.columns if column.name != "id")
        cursor.execute(f"SELECT {names} FROM {Event.__tablename__} ORDER BY id")
        rows: Sequence[Any] = cursor.fetchall()
        cursor.execute(f"DROP TABLE IF EXISTS {_TABLE}")
        cursor.execute(f"CREATE TABLE {_TABLE} LIKE {Event.__tablename__}")
        places = ", ".join(["%s"] * len(rows[0]))
        started = time.perf_counter()
        for first in range(0, len(rows), EVENTS_A_POST):
            cursor.executemany(
                f"INSERT IGNORE INTO {_TABLE} ({names}) VALUES ({places})",
                rows[first : first + EVENTS_A_POST],
            )
            connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute(f"DROP TABLE {_TABLE}")
    return Row("bare INSERT of the events", len(rows), seconds)
