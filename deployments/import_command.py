"""`ics import`: hands a file to the HTTP API, shows how far it is, and prints what became of its rows."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.client import ApiClient

_POLL_SECONDS = 0.5
_SHOWN_REJECTS = 20
# The API answers when the whole file is stored.
_UPLOAD_SECONDS = 600.0
_FINAL = ("completed", "failed")
_COUNTS = ("created", "updated", "duplicates", "rejected", "warnings")


def import_file(
    client: ApiClient,
    path: Path,
    *,
    list_name: str | None = None,
    mapping: Path | None = None,
    region: str | None = None,
    console: Console | None = None,
) -> int:
    """Upload `path`, follow the import to its end and print the report; returns the exit code.

    `mapping` is a JSON file with the mapping of columns to fields, `region` the country (two letters) of
    phone numbers in national form. The exit code is 0 when the import completed.

    Raises:
        ApiError: the API does not answer, or refuses the file, the mapping, the list or the token.
        OSError: a file cannot be read.
    """
    console = console or Console()
    finished = _follow(
        client, upload(client, path, list_name=list_name, mapping=mapping, region=region), console
    )
    rejects = client.get(f"{_url(finished)}/rejects", limit=_SHOWN_REJECTS)
    _print_report(console, finished, rejects)
    return 0 if finished["state"] == "completed" else 1


def upload(
    client: ApiClient,
    path: Path,
    *,
    list_name: str | None = None,
    mapping: Path | None = None,
    region: str | None = None,
) -> dict[str, Any]:
    """Hand the file to the API; returns the queued import."""
    form = {"list_name": list_name, "default_region": region}
    if mapping is not None:
        form["mapping"] = mapping.read_text(encoding="utf-8")
    with path.open("rb") as file:
        member_import: dict[str, Any] = client.post(
            "/api/member-imports",
            files={"file": (path.name, file)},
            data={name: value for name, value in form.items() if value is not None},
            timeout=_UPLOAD_SECONDS,
        )
    return member_import


def _follow(client: ApiClient, member_import: dict[str, Any], console: Console) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(member_import["state"], total=None)
        while True:
            progress.update(
                bar,
                description=member_import["state"],
                completed=member_import["done_rows"],
                total=member_import["total_rows"],
            )
            if member_import["state"] in _FINAL:
                return member_import
            time.sleep(_POLL_SECONDS)
            member_import = client.get(_url(member_import))


def _url(member_import: Mapping[str, Any]) -> str:
    return f"/api/member-imports/{member_import['id']}"


def _print_report(console: Console, member_import: Mapping[str, Any], rejects: Mapping[str, Any]) -> None:
    if member_import["error"]:
        console.print(member_import["error"], style="red", markup=False)
    counts = Table(title=f"Import {member_import['id']}: {member_import['state']}")
    counts.add_column("rows")
    counts.add_column("count", justify="right")
    for name in _COUNTS:
        counts.add_row(name, f"{member_import[name]:,}")
    console.print(counts)
    if rejects["items"]:
        console.print(_reject_table(rejects["items"], has_more=rejects["next_cursor"] is not None))


def _reject_table(items: list[dict[str, Any]], *, has_more: bool) -> Table:
    title = f"The first {len(items)} left out" if has_more else "Left out"
    table = Table(title=title)
    for column in ("row", "column", "value", "reason"):
        table.add_column(column, overflow="fold")
    for item in items:
        # Values come from a stranger's file: square brackets in them are no markup.
        cells = (str(item["row_number"]), item["column_name"], item["value"], item["message"])
        style = "red" if item["severity"] == "reject" else None
        table.add_row(*(escape(cell) for cell in cells), style=style)
    return table
