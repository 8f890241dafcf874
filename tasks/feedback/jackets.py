"""Prefect's view of feedback."""

from prefect import task

from db.engine import get_database
from db.states import InboxState
from tasks.feedback.apply import apply_waiting


@task(name="apply-inbox", persist_result=False)
def apply_inbox() -> int:
    """Apply what waits in the inbox; returns how many webhooks that were."""
    database = get_database()
    return apply_waiting(database) + apply_waiting(database, state=InboxState.FAILED)
