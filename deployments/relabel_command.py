"""`ics stats relabel`: machines told from people once more, through the HTTP API."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from deployments.client import ApiClient


def relabel_execution(client: ApiClient, execution_id: int, *, console: Console | None = None) -> int:
    """Relabel piece by piece with a progress bar; returns how many events have another label now."""
    console = console or Console(highlight=False)
    changed = done = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("labels", total=None)
        cursor: int | None = 0
        while cursor is not None:
            piece = client.post(f"/api/flow-executions/{execution_id}/relabel", params={"cursor": cursor})
            changed, done, cursor = changed + piece["changed"], done + 1, piece["next_cursor"]
            # Pieces are of the same size.
            progress.update(bar, completed=done, total=done + -(-piece["left"] // 10_000))
    console.print(f"execution {execution_id}: {changed} events have another label now")
    return changed
