"""Runs a bulk operation: piece by piece, each a transaction that also moves past it.

A run that was cut is gone on with after the last piece that was committed; of two runs at once the second one finds its piece
taken, and stops.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from db.engine import Database
from db.errors import Conflict, Invalid, NotFound
from db.models import BulkOperation
from db.queries import bulk
from db.queries.bulk import PIECE_CLIENTS, TooMany
from db.queries.imports import PASSING_ERRORS
from db.states import BulkState

log = structlog.get_logger()

Progress = Callable[[int, int], None]
"""Called with the id of the last client that was walked, and with that of the last one there is."""


class BulkInterrupted(Exception):
    """The run could not go on for a reason that may pass; the operation goes on in the next one. Says only the kind of error."""


@dataclass(frozen=True)
class BulkReport:
    """Where an operation stands."""

    operation_id: int
    state: BulkState
    matched: int
    done: int
    changed: int
    skipped: int

    def counts(self) -> dict[str, int]:
        names = ("matched", "done", "changed", "skipped")
        return {name: getattr(self, name) for name in names}


def run_operation(
    database: Database, operation_id: int, *, on_progress: Progress, piece: int = PIECE_CLIENTS
) -> BulkReport:
    """Do what is left of the operation. Safe to call again, at any time and from anywhere.

    Raises:
        NotFound: there is no such operation.
        BulkInterrupted: the database failed; calling again goes on where this run stopped.
    """
    operation = database.run(lambda s: bulk.start_operation(s, operation_id))
    if operation.state is BulkState.RUNNING:
        failure = _try(database, operation, on_progress, piece)
        if failure is not None:
            database.run(lambda s: bulk.fail_operation(s, operation_id, error=failure))
    return get_report(database, operation_id)


def get_report(database: Database, operation_id: int) -> BulkReport:
    """Where the operation stands now."""
    with database.reading() as session:
        found = bulk.get_operation(session, operation_id)
    return BulkReport(
        operation_id=found.id,
        state=found.state,
        matched=found.matched_count or 0,
        done=found.done_count,
        changed=found.changed_count,
        skipped=found.skipped_count,
    )


def _to_its_end(database: Database, operation: BulkOperation, on_progress: Progress, piece: int) -> None:
    until = operation.until_client_id or 0
    while operation.last_client_id < until:
        on_progress(operation.last_client_id, until)
        step = partial(
            bulk.advance_operation, operation_id=operation.id, after=operation.last_client_id, piece=piece
        )
        operation = database.run(step)
    database.run(lambda s: bulk.complete_operation(s, operation.id))
    on_progress(until, until)


def _try(database: Database, operation: BulkOperation, on_progress: Progress, piece: int) -> str | None:
    """Run it; returns why it failed, if it did for a reason that the next run would meet again."""
    try:
        _to_its_end(database, operation, on_progress, piece)
    except (TooMany, Invalid, NotFound) as error:
        return str(error)
    except Conflict as taken:
        log.warning("bulk operation stopped", operation_id=operation.id, reason=str(taken))
    except PASSING_ERRORS as error:
        log.warning("bulk operation interrupted", operation_id=operation.id, error=type(error).__name__)
        raise BulkInterrupted(f"bulk operation {operation.id}: {type(error).__name__}") from None
    except Exception as error:
        # Where it was is logged, not what it said: that may quote a client.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        log.error("bulk operation failed", operation_id=operation.id, error=type(error).__name__, where=where)
        return f"an unexpected {type(error).__name__} stopped the operation; it was logged"
    return None
