"""Takes on a bulk operation: does it at once for a selection, and puts it in the queue for a rule or a list."""

from dataclasses import replace
from functools import partial

from db.engine import Database, Session
from db.errors import Conflict, Invalid
from db.models import BulkOperation
from db.queries import bulk
from db.queries.approvals import insert_approval
from db.queries.bulk import Asked
from db.queries.bulk_changes import check_change
from db.states import BulkAction

DELETE = "bulk_delete"
_FEW = 10
_PART = 0.01


def ask(database: Database, asked: Asked, *, expected_count: int | None, token_id: int) -> BulkOperation:
    """Store the operation; one about a selection is completed when this returns.

    Raises:
        Invalid: the list or the rule cannot be used, or a deletion does not say how many it expects.
        NotFound: there is no list to take the members of.
        Conflict: a deletion would be of many more or fewer than expected.
    """
    return database.run(partial(_ask, asked=asked, expected_count=expected_count, token_id=token_id))


def most_accepted(expected: int) -> int:
    """How many clients a deletion may come to: a hundredth more than expected, as clients come and go meanwhile."""
    return expected + max(_FEW, round(expected * _PART))


def _ask(session: Session, asked: Asked, expected_count: int | None, token_id: int) -> BulkOperation:
    check_change(session, asked.change)
    is_deletion = asked.change.action is BulkAction.DELETE
    if asked.client_ids is not None:
        operation = bulk.run_selection(session, asked)
    else:
        matched = bulk.count_chosen(session, asked.choice)
        if is_deletion:
            asked = replace(asked, at_most=_agreed(matched, expected_count))
        operation = bulk.insert_operation(session, asked, matched_count=matched)
    if is_deletion:
        details = {
            "bulk_operation_id": operation.id,
            "matched_count": operation.matched_count,
            "expected_count": expected_count,
            "token_id": token_id,
        }
        insert_approval(session, DELETE, approved_by=asked.created_by, execution_id=None, details=details)
    return operation


def _agreed(matched: int, expected: int | None) -> int:
    """The most clients that may be deleted: a rule that is wrong must not wipe everybody."""
    if expected is None:
        raise Invalid(
            "expected_count",
            f"say how many clients you expect to be deleted; it would be {matched:,} now (POST /api/bulk-operations/count)",
        )
    if not 2 * expected - most_accepted(expected) <= matched <= most_accepted(expected):
        raise Conflict(
            f"it would delete {matched:,} clients, and {expected:,} were expected; look at them before you agree to it",
            "expected_count",
        )
    return most_accepted(expected)
