"""Progress and status of executions in the terminal."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deployments.client import ApiClient
from deployments.following import follow

ENDED = ("completed", "cancelled", "failed", "paused", "held", "settling")
RATE_SECONDS = 5.0
_OPEN = ("pending", "sending", "unknown")
_TOLD = ("failed", "unknown", "delivered", "bounced", "opened", "clicked", "unsubscribed")
console = Console(highlight=False)


def watch_executions(
    client: ApiClient, execution_ids: Sequence[int], *, timeout: float = 3600.0
) -> list[str]:
    """Draw a bar for each execution until all have ended or wait for somebody; returns their states.

    Raises:
        ApiError: it took longer than `timeout` seconds, or the API refuses.
    """
    columns = (
        # Names are people's own: square brackets in them are no markup.
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[told]}"),
    )
    states: dict[int, str] = {}
    with Progress(*columns, console=console) as bars:
        lines = {key: _Line(bars, key) for key in execution_ids}
        for key, picture in follow(client, execution_ids, timeout=timeout):
            states[key] = lines[key].draw(picture)
            if len(states) == len(lines) and all(state in ENDED for state in states.values()):
                return [states[each] for each in execution_ids]
    raise AssertionError("unreachable")


class _Line:
    """The bar of one execution, with the rate of the last seconds and what providers have reported."""

    def __init__(self, bars: Progress, execution_id: int) -> None:
        self._bars = bars
        self._name = f"execution {execution_id}"
        self._bar = bars.add_task(self._name, total=None, rate="", told="")
        self._rate = Rate()

    def draw(self, picture: dict[str, Any]) -> str:
        """Returns the state of the execution."""
        counts, state = picture["messages"], str(picture["state"])
        if counts:
            done = counts["intended"] - sum(counts[state] for state in _OPEN)
            self._bars.update(self._bar, total=counts["intended"], completed=done)
            rate = self._rate.of(done, now=time.monotonic())
            words = "" if rate is None else f"{rate:,.0f}/s"
            self._bars.update(self._bar, rate=words, told=_told(picture))
        name = picture.get("flow_name") or self._name
        self._bars.update(self._bar, description=f"{name[:30]}: {state}")
        return state


class Rate:
    """How much is done per second, over the last seconds."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, int]] = deque(maxlen=200)

    def of(self, done: int, *, now: float) -> float | None:
        """`done` of all at `now`, in seconds; None until something can be said."""
        self._done.append((now, done))
        while now - self._done[0][0] > RATE_SECONDS:
            self._done.popleft()
        then, before = self._done[0]
        return (done - before) / (now - then) if now > then else None


def _told(picture: dict[str, Any]) -> str:
    """What went wrong, and what providers have reported so far, of email and SMS together."""
    shown = {name: picture["messages"].get(name, 0) for name in _TOLD}
    shown["delivered"] += picture["sms"].get("delivered", 0)
    return " ".join(f"{name} {count:,}" for name, count in shown.items() if count)


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
