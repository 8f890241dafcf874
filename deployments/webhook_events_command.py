"""`ics webhook-events`: events that could not be applied, and trying them again, through the HTTP API."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.client import ApiClient

_URL = "/api/webhook-events"
_PAGE = 100
_COLUMNS = ("id", "problem", "source", "kind", "reference", "came", "tried", "times", "state", "reason")


def list_events(client: ApiClient, *, with_closed: bool = False, console: Console | None = None) -> None:
    """Print the open ones, or all of them, in the order in which they came."""
    console = console or Console(highlight=False)
    table = Table(*_COLUMNS, title="Webhook events" if with_closed else "Open webhook events")
    cursor: int | None = 0
    state = {} if with_closed else {"state": "open"}
    while cursor is not None:
        page = client.get(_URL, cursor=cursor, limit=_PAGE, **state)
        for event in page["items"]:
            table.add_row(*(escape(cell) for cell in _cells(event)))
        cursor = page["next_cursor"]
    console.print(table if table.row_count else "every event was applied")


def replay_one(client: ApiClient, event_id: int, *, console: Console | None = None) -> int:
    """Try one again; returns the exit code, 0 when it is applied now."""
    event = client.post(f"{_URL}/{event_id}/replay")
    _say(console, f"webhook event {event_id}: {event['state']}, {event['reason']}")
    return 0 if event["state"] == "applied" else 1


def replay_all(client: ApiClient, *, console: Console | None = None) -> int:
    """Try all open ones again with a progress bar; returns the exit code, 0 when none stays open."""
    console = console or Console(highlight=False)
    counts = {"applied": 0, "open": 0, "gone": 0}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("webhook events", total=None)
        cursor: int | None = 0
        while cursor is not None:
            page = client.post(f"{_URL}/replay", params={"cursor": cursor, "limit": _PAGE})
            for name in counts:
                counts[name] += page[name]
            progress.update(bar, completed=sum(counts.values()))
            cursor = page["next_cursor"]
    _say(console, ", ".join(f"{count} {name}" for name, count in counts.items()))
    return 1 if counts["open"] else 0


def _cells(event: dict[str, Any]) -> tuple[str, ...]:
    moments = (event["created_at"][:19], event["tried_at"][:19])
    named = (event["problem"], event["source"], event["kind"] or "", event["reference"] or "")
    return str(event["id"]), *named, *moments, str(event["attempts"]), event["state"], event["reason"]


def _say(console: Console | None, text: str) -> None:
    (console or Console(highlight=False)).print(text, markup=False)
