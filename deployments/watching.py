"""Progress and status of executions in the terminal."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.client import ApiClient, ApiError

ENDED = ("completed", "cancelled", "failed", "paused", "held", "settling")
POLL_SECONDS = 0.5
console = Console(highlight=False)


def watch_executions(
    client: ApiClient, execution_ids: Sequence[int], *, timeout: float = 3600.0
) -> list[str]:
    """Draw a bar for each execution until all have ended or wait for somebody; returns their states.

    Raises:
        ApiError: it took longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        shown = {key: bars.add_task(f"execution {key}", total=None) for key in execution_ids}
        while True:
            states = [_draw(client, bars, key, bar) for key, bar in shown.items()]
            if all(state in ENDED for state in states):
                return states
            if time.monotonic() > deadline:
                raise ApiError(f"executions {list(execution_ids)} are {states} after {timeout:.0f} s")
            time.sleep(POLL_SECONDS)


def show_status(client: ApiClient, execution_id: int) -> None:
    """State, counts and links of one execution as a table."""
    execution = client.get(f"/api/flow-executions/{execution_id}")
    stats = client.get(f"/api/flow-executions/{execution_id}/stats")
    table = Table(title=f"execution {execution_id}: {execution['state']}", title_justify="left")
    table.add_column("count")
    table.add_column("messages", justify="right")
    for name, value in rows_of(stats):
        table.add_row(name, f"{value:,}")
    console.print(table)
    if execution.get("reason"):
        console.print(execution["reason"])
    if execution.get("prefect_url"):
        console.print(f"Prefect: {execution['prefect_url']}")


def rows_of(stats: dict[str, Any]) -> list[tuple[str, int]]:
    """The counts that are worth a line, in the order of a message's life."""
    rows = [(name, value) for name, value in stats["messages"].items() if value or name == "intended"]
    rows += [(f"excluded: {reason}", value) for reason, value in stats["exclusions"].items()]
    return rows + [(f"sms {name}", value) for name, value in stats["sms"].items() if value]


def _draw(client: ApiClient, bars: Progress, execution_id: int, bar: Any) -> str:
    execution = client.get(f"/api/flow-executions/{execution_id}")
    counts = execution["counts"]
    if counts:
        waiting = counts["pending"] + counts["sending"]
        bars.update(bar, total=counts["intended"], completed=counts["intended"] - waiting)
    bars.update(bar, description=f"{execution['flow_name'][:30]}: {execution['state']}")
    return str(execution["state"])
