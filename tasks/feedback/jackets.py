"""Prefect's view of feedback."""

from datetime import timedelta

from prefect import task

from db.engine import get_database
from db.states import InboxState
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.feedback.closing import close_all
from tasks.feedback.forgetting import forget_old
from tasks.feedback.replaying import replay_due


@task(name="apply-inbox", persist_result=False)
def apply_inbox() -> int:
    """Apply what waits in the inbox; returns how many webhooks that were."""
    database = get_database()
    return apply_waiting(database) + apply_waiting(database, state=InboxState.FAILED)


@task(name="replay-events", persist_result=False)
def replay_events() -> int:
    """Try again what could not be applied; returns how many events that applied."""
    return replay_due(get_database())


@task(name="forget-webhooks", persist_result=False)
def forget_webhooks() -> int:
    """Delete the raw bytes of webhooks that were applied long ago; returns how many."""
    return forget_old(get_database(), older_than=timedelta(days=get_settings().webhook_days))


@task(name="close-executions", persist_result=False)
def close_executions() -> dict[str, int]:
    """Close what dead holders left and what evidence ended; returns how much of each."""
    window = timedelta(hours=get_settings().evidence_window_hours)
    return close_all(get_database(), window=window).counts()
