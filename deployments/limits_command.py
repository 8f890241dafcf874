"""`ics limit`: shows and sets rate limits through the API."""

from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.client import ApiClient

console = Console(highlight=False)
_COLUMNS = ("requests_per_second", "messages_per_second", "held_until")


def run_limit(
    client: ApiClient, name: str | None, *, requests: float | None, messages: float | None, off: bool
) -> None:
    """Set, end or show. Without a name or a rate everything is shown."""
    if name and off:
        client.delete(f"/api/rate-limits/{name}")
    elif name and (requests or messages):
        client.put(
            f"/api/rate-limits/{name}", {"requests_per_second": requests, "messages_per_second": messages}
        )
    table = Table("limit", "requests/s", "messages/s", "held until")
    cursor = None
    while True:
        page = client.get("/api/rate-limits", limit=200, **({"cursor": cursor} if cursor else {}))
        for limit in page["items"]:
            table.add_row(limit["name"], *(_shown(limit[key]) for key in _COLUMNS))
        cursor = page["next_cursor"]
        if cursor is None:
            break
    console.print(table)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)
