"""The Prefect flow of a bulk operation: one task, since its pieces are one after the other."""

from prefect import flow, get_run_logger

from db.states import BulkState
from tasks.bulk.jackets import change_clients
from tasks.bulk.progress import show_report


class BulkOperationFailed(Exception):
    """The operation cannot go on; it says why."""


@flow(name="run-bulk-operation", flow_run_name="bulk-operation-{operation_id}", persist_result=False)
def run_bulk_operation(operation_id: int) -> dict[str, int]:
    """Change the clients that the operation is about; returns its counts. Safe to run again or twice at once.

    Raises:
        BulkOperationFailed: it is `failed`, and is not tried again unless a person says so.
    """
    report = change_clients(operation_id)
    show_report(report)
    counts = report.counts()
    get_run_logger().info("bulk operation %s is %s: %s", operation_id, report.state, counts)
    if report.state is BulkState.FAILED:
        # The reason may quote a rule, so it stays in our database.
        raise BulkOperationFailed(
            f"bulk operation {operation_id} failed; GET /api/bulk-operations/{operation_id} says why"
        )
    return counts
