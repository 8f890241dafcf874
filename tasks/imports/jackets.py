"""Prefect's view of an import: a thin jacket around `run_import`. What passes here are ids and counts."""

from prefect import task

from db.engine import get_database
from tasks.imports.progress import shown
from tasks.imports.run import ImportReport, run_import

RETRY_DELAYS = [2.0, 15.0]


@task(name="import-file", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False)
def import_file(import_id: int) -> ImportReport:
    """Import the file chunk by chunk. A retry goes on after the last chunk that was committed."""
    with shown(import_id) as show:
        return run_import(get_database(), import_id, on_progress=show.update)
