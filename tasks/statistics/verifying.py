"""Compares what is counted with what is stored, of one execution or of all, and sets it right when it is asked to.

Counts of an execution are compared with a recount at one moment of the database, and so is each piece of its ledger with the
events: what is being sent or applied meanwhile is never taken for a difference.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from db.engine import Database, Session
from db.queries.approvals import insert_approval
from db.queries.executions import get_execution
from db.queries.ledger_ranges import find_range
from db.queries.verification import (
    Difference,
    WrongFeedback,
    is_archived,
    list_differences,
    list_execution_ids,
    list_wrong_feedback,
    repair_counts,
    repair_feedback,
)
from tasks.feedback.meaning import BITS

REPAIR = "repair_stats"
MESSAGES_SHOWN = 5
_IDS_AT_A_TIME = 20_000
_REPAIRED_AT_A_TIME = 500
_BITS = {kind.value: bits for kind, bits in BITS.items()}
Progress = Callable[[float], None]
"""Told the share that is done, from 0 to 1."""


@dataclass
class Report:
    """What differs in one execution: counts, and messages, of which the first few are named. Of one that is archived nothing can
    be told."""

    execution_id: int
    counts: Sequence[Difference] = ()
    wrong_messages: int = 0
    messages: list[WrongFeedback] = field(default_factory=list)
    is_archived: bool = False

    @property
    def is_equal(self) -> bool:
        return not self.counts and not self.wrong_messages


def choose_executions(database: Database, execution_id: int | None) -> Sequence[int]:
    """The one that is asked for, or all that have counts.

    Raises:
        NotFound: there is no such execution.
    """
    with database.reading() as session:
        if execution_id is None:
            return list_execution_ids(session)
        get_execution(session, execution_id)
        return [key for key in list_execution_ids(session) if key == execution_id]


def verify(database: Database, execution_id: int, progress: Progress = lambda _: None) -> Report:
    """Compare counts and messages of one execution. Reads only."""
    with database.snapshot() as session:
        if is_archived(session, execution_id):
            progress(1.0)
            return Report(execution_id, is_archived=True)
        report = Report(execution_id, list_differences(session, execution_id))
        ids = find_range(session, execution_id)
    for wrong in _walk(database, execution_id, ids, progress):
        report.wrong_messages += len(wrong)
        report.messages += wrong[: MESSAGES_SHOWN - len(report.messages)]
    progress(1.0)
    return report


def repair(database: Database, execution_id: int, *, approved_by: str) -> Report:
    """Set right what differs, first messages and then counts, and keep who wanted it; returns what still differs then.

    Of an execution that is archived nothing is changed: its counts are all that is left of it.
    """
    with database.reading() as session:
        if is_archived(session, execution_id):
            return Report(execution_id, is_archived=True)
        ids = find_range(session, execution_id)
    wrong_messages = 0
    for wrong in _walk(database, execution_id, ids, lambda _: None):
        wrong_messages += len(wrong)
        for start in range(0, len(wrong), _REPAIRED_AT_A_TIME):
            some = [each.message_id for each in wrong[start : start + _REPAIRED_AT_A_TIME]]
            database.run(partial(repair_feedback, message_ids=some, bits=_BITS))
    work = partial(
        _repair_counts, execution_id=execution_id, messages=wrong_messages, approved_by=approved_by
    )
    database.run_at_one_moment(work)
    return verify(database, execution_id)


def _repair_counts(session: Session, execution_id: int, messages: int, approved_by: str) -> None:
    found = repair_counts(session, execution_id)
    counts = [{"table": each.table, "count": each.name, "by": each.counted - each.stored} for each in found]
    insert_approval(
        session,
        REPAIR,
        approved_by=approved_by,
        execution_id=execution_id,
        details={"messages": messages, "counts": len(counts), "first": counts[:50]},
    )


def _walk(
    database: Database, execution_id: int, ids: tuple[int, int] | None, progress: Progress
) -> Iterator[list[WrongFeedback]]:
    """The wrong messages of each piece of the ledger, each seen at one moment."""
    if ids is None:
        return
    first, last = ids
    for start in range(first, last + 1, _IDS_AT_A_TIME):
        end = min(start + _IDS_AT_A_TIME - 1, last)
        with database.snapshot() as session:
            yield list_wrong_feedback(session, execution_id, _BITS, first=start, last=end)
        progress((end - first + 1) / (last - first + 1))
