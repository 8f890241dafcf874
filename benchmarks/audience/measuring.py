"""All figures of the audience, one after the other, on one database that grows to a million clients and five million messages."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.api.lists import list_verdicts
from benchmarks.api.lists import measure as measure_lists
from benchmarks.audience.crm_file import write_file
from benchmarks.audience.exports import export_all
from benchmarks.audience.imports import import_file
from benchmarks.audience.load_data import load_at_the_limit
from benchmarks.audience.populate import EXECUTIONS, add_history
from benchmarks.audience.queries import measure_looks, measure_segments
from benchmarks.engine import platform
from benchmarks.measured import Row
from db.engine import Database, get_database
from db.queries.tokens import create_token

_GOALS = {
    "import, created": ("rows/s", 20_000),
    "import, unchanged": ("rows/s", 20_000),
    "export, CSV": ("rows/s", 50_000),
    "segment count": ("ms", 1500),
    "segment preview": ("ms", 200),
    "list page": ("ms", 30),
    "search by email": ("ms", 30),
}
_MOST_MB = 500


def measure(
    database_url: str, database: Database, sink: str, clients: int, note: Callable[[Row], None]
) -> None:
    """From an empty database on."""
    with tempfile.TemporaryDirectory(prefix="ics-bench-") as folder:
        path = Path(folder) / "crm.csv"
        write_file(path, clients)
        note(load_at_the_limit(database_url, path, clients))
        with platform(database_url, sink) as (local, client):
            note(import_file(local, client, path, clients, expect="created"))
            note(import_file(local, client, path, clients, expect="unchanged"))
            token, _ = get_database().run(lambda s: create_token(s, "export"))
            note(export_all(local, token, clients))
    executions = add_history(database)
    for row in (*measure_segments(database, clients, executions[-1]), *measure_looks(database, clients)):
        note(row)
    measure_lists(database_url, database, note)


def print_audience(console: Console, rows: list[Row]) -> None:
    table = Table("", "clients", "seconds", "rows/s", "median ms", "worst ms", "memory, MB")
    for row in rows:
        memory = row.more.get("largest_process_mb", row.more.get("api_mb", ""))
        is_look = "median_ms" in row.more
        table.add_row(
            row.name,
            f"{row.recipients:,}",
            "" if is_look else f"{row.seconds:.1f}",
            "" if is_look else f"{row.per_second:,.0f}",
            str(row.more.get("median_ms", "")),
            str(row.more.get("worst_ms", "")),
            str(memory),
        )
    console.print(table)


def audience_verdicts(rows: list[Row]) -> Iterator[str]:
    """Each figure beside its goal, which is meant for a million clients with five million messages."""
    by_name = {row.name: row for row in rows}
    for row in rows:
        unit, goal = next((goal for name, goal in _GOALS.items() if row.name.startswith(name)), ("", 0))
        if unit == "rows/s":
            yield f"{row.name}: {row.per_second:,.0f} rows/s (goal {goal:,})"
        elif unit:
            yield f"{row.name}: {row.more['median_ms']} ms (goal {goal:,})"
        if "largest_process_mb" in row.more:
            yield f"{row.name}: {row.more['largest_process_mb']} MB (goal {_MOST_MB})"
    limit, ours = by_name.get("bare import, LOAD DATA"), by_name.get("import, created")
    if limit and ours:
        yield f"import of LOAD DATA: {ours.per_second / limit.per_second:.2f} (goal 0.35)"
    yield from list_verdicts(rows)
    yield f"messages in the ledger: {EXECUTIONS} for each client"
