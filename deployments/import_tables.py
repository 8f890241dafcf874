"""The report of an import as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

# What a dry run says of each count that is about clients.
_WOULD = {
    "created": "would create",
    "updated": "would update",
    "unchanged": "would leave as they are",
    "skipped": "would skip",
    "duplicates": "duplicates in the file",
    "rejected": "would reject",
    "warnings": "would leave out (cells)",
}
_COUNTED = {"reject": "rows", "warning": "cells", "kept": "kept by the undoing"}
_OPTIONAL = ("undone",)


def counts_table(report: Mapping[str, Any]) -> Table:
    """What became of the rows, or would become of them."""
    title = "Dry run" if report["dry_run"] else "Import"
    table = Table(title=f"{title} {report['id']}: {report['state']}")
    table.add_column("rows")
    table.add_column("count", justify="right")
    for name, count in report["counts"].items():
        if name in _OPTIONAL and not count:
            continue
        table.add_row(_WOULD.get(name, name) if report["dry_run"] else name, f"{count:,}")
    return table


def reasons_table(reasons: Sequence[Mapping[str, Any]]) -> Table:
    """Why rows and cells were left out, by column."""
    table = Table(title="Why")
    for name in ("", "column", "reason"):
        table.add_column(name, overflow="fold")
    table.add_column("count", justify="right")
    for found in reasons:
        style = "red" if found["severity"] == "reject" else None
        what = _COUNTED[found["severity"]]
        cells = (what, escape(found["column"]), found["reason"], f"{found['count']:,}")
        table.add_row(*cells, style=style)
    return table


def rejects_table(items: Sequence[Mapping[str, Any]], *, has_more: bool) -> Table:
    """The first rows and cells that were left out, with what would be accepted."""
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
