"""Everything that events may change, as digests: two pictures are equal byte for byte or they are not."""

import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from db.engine import Database
from db.models import (
    ConsentChange,
    Event,
    Message,
    SendmodeStats,
    Stats,
    StatsMinute,
    StatsReason,
    Unsubscribed,
)
from db.queries.recount import recount
from db.queries.stats import get_counts

_TABLES = (Message, Event, Stats, SendmodeStats, StatsReason, StatsMinute, Unsubscribed, ConsentChange)


def picture(database: Database, execution_id: int) -> dict[str, str]:
    """A digest for each table. The stats must equal a recount, or there is no picture."""
    with database.reading() as session:
        counts, fresh = get_counts(session, execution_id), recount(session, execution_id)
        if counts != fresh:
            raise SystemExit(f"stats {counts} are no recount {fresh}")
        return {
            model.__name__: _digest(
                session.execute(select(*model.__table__.columns).order_by(*model.__table__.primary_key))
            )
            for model in _TABLES
        }


def _digest(rows: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()[:16]
