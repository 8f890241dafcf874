"""`ics failed-jobs`: what gave up, and trying it again, through the HTTP API."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.client import ApiClient

_URL = "/api/failed-jobs"
_PAGE = 100


def list_jobs(client: ApiClient, *, with_retried: bool = False, console: Console | None = None) -> None:
    """Print the open failed jobs, or all of them, oldest first."""
    console = console or Console(highlight=False)
    table = Table(title="Failed jobs" if with_retried else "Open failed jobs")
    for column in ("id", "kind", "subject", "failed", "retried", "error"):
        table.add_column(column, overflow="fold")
    cursor: int | None = 0
    state = {} if with_retried else {"state": "open"}
    while cursor is not None:
        page = client.get(_URL, cursor=cursor, limit=_PAGE, **state)
        for job in page["items"]:
            # Errors are a provider's words: square brackets in them are no markup.
            table.add_row(*(escape(cell) for cell in _cells(job)))
        cursor = page["next_cursor"]
    console.print(table if table.row_count else "no failed jobs")


def retry_job(client: ApiClient, job_id: int, *, console: Console | None = None) -> None:
    """Retry one job.

    Raises:
        ApiError: it was retried already, cannot be retried now, or does not exist.
    """
    console = console or Console(highlight=False)
    job = client.post(f"{_URL}/{job_id}/retry")
    console.print(f"failed job {job_id} ({job['kind']}): {job['effect']}", markup=False)


def retry_all(client: ApiClient, *, console: Console | None = None) -> int:
    """Retry every open job with a progress bar, and print what was refused; returns the exit code.

    The exit code is 0 when no job was refused.
    """
    console = console or Console(highlight=False)
    retried = 0
    refused: list[dict[str, Any]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("failed jobs", total=None)
        cursor: int | None = 0
        while cursor is not None:
            page = client.post(f"{_URL}/retry", params={"cursor": cursor, "limit": _PAGE})
            retried += len(page["retried"])
            refused += page["refused"]
            done = retried + len(refused)
            progress.update(bar, completed=done, total=done + page["left"])
            cursor = page["next_cursor"]
    for job in refused:
        console.print(f"failed job {job['id']} stays: {job['detail']}", markup=False)
    console.print(f"{retried} retried, {len(refused)} refused")
    return 1 if refused else 0


def _cells(job: dict[str, Any]) -> tuple[str, ...]:
    # MySQL keeps the members of a JSON object in an order of its own.
    parts = sorted(job["subject"].items(), key=lambda part: (part[0] != "execution_id", part[0]))
    subject = ", ".join(f"{name.removesuffix('_id')} {value}" for name, value in parts if value is not None)
    retried = f"{job['retried_at'][:19]} {job['retried_by'] or ''}" if job["retried_at"] else ""
    return str(job["id"]), job["kind"], subject, job["failed_at"][:19], retried, job["error"]
