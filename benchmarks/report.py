"""The table, and what the figures are held to."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.measured import Row

_EXTRA = ("first_request_after", "task_runs", "worker_mb")


def print_table(console: Console, rows: Sequence[Row]) -> None:
    table = Table("", *("messages", "seconds", "messages/s"), *_EXTRA)
    for row in rows:
        extra = (str(row.more.get(name, "")) for name in _EXTRA)
        table.add_row(row.name, f"{row.recipients:,}", f"{row.seconds:.1f}", f"{row.per_second:,.0f}", *extra)
    console.print(table)


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Ratios of the rows that were measured, each beside its goal."""
    found = {(row.name, row.recipients): row for row in rows}
    by_name = {row.name: row for row in rows}
    largest = max((row.recipients for row in rows if row.name == "engine email"), default=0)
    engine = found.get(("engine email", largest))
    if engine is not None:
        yield f"email/s at {largest:,}: {engine.per_second:,.0f} (goal 12,000 at 1,000,000)"
        limit = found.get(("bare email", largest))
        if limit is not None:
            yield f"of the bare limit: {engine.per_second / limit.per_second:.2f} (goal 0.75)"
        smaller = found.get(("engine email", largest // 10))
        if smaller is not None:
            ratio = smaller.per_second / engine.per_second
            yield f"cost per recipient against {smaller.recipients:,}: {ratio:.2f} x (goal 1.15)"
        for peer, goal in (("one Prefect task each", 100), ("one Celery task each", 60)):
            if peer in by_name:
                yield f"against {peer}: {engine.per_second / by_name[peer].per_second:.0f} x (goal {goal})"
    if "engine SMS" in by_name and "bare SMS, concurrent" in by_name:
        ratio = by_name["engine SMS"].per_second / by_name["bare SMS, concurrent"].per_second
        yield f"SMS of the bare limit: {ratio:.2f} (goal 0.6)"
    for row in rows:
        if "rate" in row.more:
            most, bound = (
                row.more["most_in_a_second"],
                int(str(row.more["rate"])) + int(str(row.more["burst"])),
            )
            used = row.more["used"]
            yield f"{row.name}: most in a second {most} (bound {bound}), used {used} (goal 0.9)"
