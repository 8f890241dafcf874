"""Prefect's view of feedback."""

from datetime import timedelta

from prefect import task

from db.engine import get_database
from db.states import InboxState
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.feedback.closing import close_all


@task(name="apply-inbox", persist_result=False)
def apply_inbox() -> int:
    """Apply what waits in the inbox; returns how many webhooks that were."""
    database = get_database()
    return apply_waiting(database) + apply_waiting(database, state=InboxState.FAILED)


@task(name="close-executions", persist_result=False)
def close_executions() -> dict[str, int]:
    """Close what dead holders left and what evidence ended; returns how much of each."""
    window = timedelta(hours=get_settings().evidence_window_hours)
    return close_all(get_database(), window=window).counts()
