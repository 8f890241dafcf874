"""Prefect's view of feedback."""

from prefect import task

from db.engine import get_database
from tasks.feedback.apply import apply_waiting


@task(name="apply-inbox", persist_result=False)
def apply_inbox() -> int:
    """Apply what waits in the inbox; returns how many webhooks that were."""
    return apply_waiting(get_database())
