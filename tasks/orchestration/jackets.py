"""Prefect's view of the dispatcher."""

from prefect import task

from db.engine import get_database
from tasks.orchestration.sweep import dispatch_all, sync_all
from tasks.scheduling.occurrences import open_due


@task(name="open-due-schedules", persist_result=False)
def open_due_schedules() -> int:
    """Open executions for occurrences whose moment has come; they are dispatched with the others."""
    return len(open_due(get_database()))


@task(name="dispatch-waiting", persist_result=False)
def dispatch_waiting() -> int:
    """Ask Prefect for runs of what waits; returns how many were asked for."""
    return dispatch_all(get_database())


@task(name="sync-deployments", persist_result=False)
def sync_deployments() -> int:
    """Bring deployments of changed flows up to date; returns how many."""
    return sync_all(get_database())
