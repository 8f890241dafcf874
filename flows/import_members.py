"""The Prefect flow of a member import: one task, since its chunks are one after the other."""

from prefect import flow, get_run_logger

from db.states import ImportState
from tasks.imports.jackets import import_file
from tasks.imports.progress import show_report


class ImportFailed(Exception):
    """The file cannot be imported; the import says why."""


@flow(name="import-members", flow_run_name="import-{import_id}", persist_result=False)
def import_members(import_id: int) -> dict[str, int]:
    """Import a stored file; returns its counts. Safe to run again or twice at once: no row is imported twice.

    Raises:
        ImportFailed: the import is `failed`, and is not tried again unless a person says so.
    """
    report = import_file(import_id)
    show_report(report)
    counts = report.counts()
    get_run_logger().info("import %s is %s: %s", import_id, report.state, counts)
    if report.state is ImportState.FAILED:
        # The reason may quote the file, so it stays in our database.
        raise ImportFailed(f"import {import_id} failed; GET /api/member-imports/{import_id} says why")
    return counts
