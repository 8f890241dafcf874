"""`ics stats verify`: whether the counts of executions are what they should be, by way of the database."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from db.engine import Database
from tasks.feedback.relabelling import relabel
from tasks.statistics.verifying import Report, choose_executions, repair, verify


def run_verify(
    database: Database,
    execution_id: int | None,
    *,
    with_repair: bool,
    console: Console | None = None,
    errors: Console | None = None,
) -> int:
    """Compare, print a line for each difference, and repair it if that is asked for; returns the exit code.

    It is 1 when there was a difference, also one that was repaired: somebody should ask where it came from.

    Raises:
        NotFound: there is no such execution.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    ids = choose_executions(database, execution_id)
    different = archived = 0
    with _bar(errors or Console(stderr=True)) as (progress, bar):
        for number, key in enumerate(ids):
            progress.update(bar, description=f"execution {key}", total=len(ids), completed=number)
            report = verify(database, key, partial(_show, progress, bar, number))
            _print(console, report)
            archived += report.is_archived
            if not report.is_equal:
                different += 1
                if with_repair:
                    _repair(database, console, key)
        progress.update(bar, total=len(ids), completed=len(ids))
    equal = len(ids) - different - archived
    console.print(f"{equal} of {len(ids)} executions are equal to a recount", markup=False)
    if archived:
        console.print(f"{archived} have no ledger to be compared with any more", markup=False)
    return 1 if different else 0


def run_relabel(
    database: Database, execution_id: int, *, console: Console | None = None, errors: Console | None = None
) -> None:
    """Label opens and clicks again, with a bar, and say how many are different now.

    Raises:
        NotFound: there is no such execution.
    """
    with _bar(errors or Console(stderr=True)) as (progress, bar):
        progress.update(bar, description=f"execution {execution_id}", total=1)
        changed = relabel(
            database,
            execution_id,
            lambda done: progress.update(bar, completed=done),
            by=f"ics stats relabel ({_operator()})",
        )
        progress.update(bar, completed=1)
    console = console or Console(highlight=False, soft_wrap=True)
    console.print(
        f"execution {execution_id}: {changed:,} opens and clicks have another label now", markup=False
    )


def _repair(database: Database, console: Console, execution_id: int) -> None:
    left = repair(database, execution_id, approved_by=f"ics stats verify ({_operator()})")
    if left.is_equal:
        console.print(f"execution {execution_id}: repaired", markup=False)
        return
    console.print(f"execution {execution_id}: what no event explains stays", markup=False)
    _print(console, left)


def _print(console: Console, report: Report) -> None:
    key = report.execution_id
    for each in report.counts:
        text = f"execution {key}: {each.table} {each.name} is {each.stored}, counted {each.counted}"
        console.print(text, markup=False)
    for message in report.messages:
        stored, told = (" ".join(bits.words) or "nothing" for bits in (message.stored, message.told))
        text = f"execution {key}: message {message.message_id} has {stored}; its events say {told}"
        console.print(text, markup=False)
    if more := report.wrong_messages - len(report.messages):
        console.print(f"execution {key}: and {more} messages more", markup=False)


def _show(progress: Progress, bar: TaskID, number: int, done: float) -> None:
    progress.update(bar, completed=number + done)


@contextmanager
def _bar(console: Console) -> Iterator[tuple[Progress, TaskID]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield progress, progress.add_task("executions", total=None)


def _operator() -> str:
    """Who runs the command, as the machine knows them; in a container perhaps nobody does."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
