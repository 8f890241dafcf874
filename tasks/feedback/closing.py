"""Closes what nobody else closes: batches whose holder died, unknown messages with evidence, executions at their end.

A lane that is alive does the first for its own execution. When the last lane died, or people paused or cancelled the
execution, this does it for all of them.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial

import structlog

from db.engine import Database, Session
from db.queries import closing, leases
from db.queries.executions import settle_execution
from db.queries.feedback import apply_feedback
from db.states import Feedback
from tasks.feedback.meaning import bits_of
from tasks.providers.events import EventKind

log = structlog.get_logger()
EXECUTIONS_AT_A_TIME = 100
MOST_EXECUTIONS = 1_000
MOST_MESSAGES = 5_000


@dataclass
class Closed:
    """What a run did: executions it looked into, claims released and batches left unknown by dead holders, messages
    that stored events proved to be accepted, and failed jobs about messages that stay unknown."""

    executions: int = 0
    released: int = 0
    expired: int = 0
    proven: int = 0
    reported: int = 0

    def counts(self) -> dict[str, int]:
        return asdict(self)


def close_all(
    database: Database,
    *,
    window: timedelta,
    most_executions: int = MOST_EXECUTIONS,
    most_messages: int = MOST_MESSAGES,
) -> Closed:
    """Close what can be closed in up to `most_executions` executions; what is left waits for the next run.

    An execution that fails to be closed holds up no other.
    """
    closed, after = Closed(), 0
    while closed.executions < most_executions:
        limit = min(EXECUTIONS_AT_A_TIME, most_executions - closed.executions)
        with database.reading() as session:
            found = closing.list_closable(session, after=after, limit=limit, window=window)
        for execution_id in found:
            try:
                _close(database, execution_id, closed, window=window, most_messages=most_messages)
            except Exception as error:
                log.exception("execution not closed", execution_id=execution_id, error=type(error).__name__)
        closed.executions += len(found)
        if len(found) < limit:
            break
        after = found[-1]
    return closed


def apply_stored_evidence(session: Session, execution_id: int, *, limit: int) -> int:
    """Unknown -> accepted for up to `limit` messages about which there are events; returns how many."""
    bits: dict[int, Feedback] = {}
    for message_id, kind in closing.list_stored_evidence(session, execution_id, limit=limit):
        bits[message_id] = bits.get(message_id, Feedback(0)) | bits_of(EventKind(kind))
    if bits:
        apply_feedback(session, bits)
    return len(bits)


def _close(
    database: Database, execution_id: int, closed: Closed, *, window: timedelta, most_messages: int
) -> None:
    """Short transactions one after the other: each is complete by itself, and none holds what a lane waits for."""
    closed.released += database.run(partial(leases.release_expired_claims, execution_id=execution_id))
    closed.expired += database.run(partial(leases.expire_sending, execution_id=execution_id))
    closed.proven += database.run(
        partial(apply_stored_evidence, execution_id=execution_id, limit=most_messages)
    )
    database.run(partial(settle_execution, execution_id=execution_id))
    closed.reported += database.run(partial(closing.report_overdue, execution_id=execution_id, window=window))
