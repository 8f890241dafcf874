"""Prefect's view of a bulk operation: a thin jacket around `run_operation`. What passes here are ids and counts."""

from prefect import task

from db.engine import get_database
from tasks.bulk.progress import shown
from tasks.bulk.run import BulkReport, run_operation

RETRY_DELAYS = [2.0, 15.0]


@task(
    name="change-clients", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False
)
def change_clients(operation_id: int) -> BulkReport:
    """Change the clients piece by piece. A retry goes on after the last piece that was committed."""
    with shown(operation_id) as show:
        return run_operation(get_database(), operation_id, on_progress=show.update)
