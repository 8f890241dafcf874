"""Counts lists: one at a time, each within its time, so that a slow one holds up no other."""

import time
from dataclasses import asdict, dataclass
from datetime import timedelta

import structlog

from db.dialect import time_limit
from db.engine import Database
from db.errors import NotFound, TookTooLong
from db.queries.client_lists import get_client_list
from db.queries.list_counts import count_list, list_due_counts, store_count

log = structlog.get_logger()
MOST_LISTS = 200
MOST_SECONDS = 240.0
"""What a run does; the next one, five minutes later, goes on with the lists that were counted longest ago."""


@dataclass
class Refreshed:
    """Lists whose count was renewed, given up after its time, or could not be made; and those that are left for the next run."""

    counted: int = 0
    given_up: int = 0
    failed: int = 0
    left: int = 0

    def counts(self) -> dict[str, int]:
        return asdict(self)


def refresh_counts(
    database: Database,
    *,
    older_than: timedelta,
    seconds: float,
    most_lists: int = MOST_LISTS,
    most_seconds: float = MOST_SECONDS,
) -> Refreshed:
    """Count the lists whose count is older, the oldest first, up to `seconds` each and `most_seconds` in all."""
    done, end = Refreshed(), time.monotonic() + most_seconds
    with database.reading() as session:
        due = list_due_counts(session, older_than=older_than, limit=most_lists)
    for at, list_id in enumerate(due):
        if time.monotonic() > end:
            done.left = len(due) - at
            break
        _refresh(database, list_id, seconds, done)
    return done


def refresh_count(database: Database, list_id: int, *, seconds: float) -> int:
    """Count a list now and keep the number.

    Raises:
        NotFound: there is no such list.
        TookTooLong: it took longer than `seconds`; that is kept too, and so is the older count.
    """
    start = time.monotonic()
    try:
        with database.reading() as session:
            client_list = get_client_list(session, list_id)
            with time_limit(session, "counting the list", seconds):
                members = count_list(session, client_list)
    except TookTooLong:
        _store(database, list_id, None, start)
        raise
    _store(database, list_id, members, start)
    return members


def try_to_refresh(database: Database, list_id: int, *, seconds: float) -> None:
    """Count a list if it can be counted; if not, the next run of the schedule tries it again."""
    _refresh(database, list_id, seconds, Refreshed())


def _refresh(database: Database, list_id: int, seconds: float, done: Refreshed) -> None:
    try:
        refresh_count(database, list_id, seconds=seconds)
        done.counted += 1
    except TookTooLong:
        done.given_up += 1
    except NotFound:
        return
    except Exception as error:
        # It comes last the next time: a list that cannot be counted must not be tried first for ever.
        log.exception("list not counted", list_id=list_id, error=type(error).__name__)
        done.failed += 1
        _store(database, list_id, None, time.monotonic())


def _store(database: Database, list_id: int, members: int | None, start: float) -> None:
    took = time.monotonic() - start
    database.run(lambda s: store_count(s, list_id, members, seconds=took))
