"""The Prefect flow that leaves nobody behind: due schedules, queued executions, dead runs, flows not synced yet."""

from prefect import flow

from tasks.orchestration.jackets import (
    dispatch_waiting,
    open_due_schedules,
    sync_deployments,
)


@flow(name="dispatch-executions", persist_result=False)
def dispatch_executions() -> dict[str, int]:
    """Runs every few seconds; does nothing when there is nothing to do."""
    return {
        "opened": open_due_schedules(),
        "dispatched": dispatch_waiting(),
        "synced": sync_deployments(),
    }
