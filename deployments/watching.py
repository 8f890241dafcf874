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
Row = tuple[str, int, str]
_STATES = ("intended", "pending", "excluded", "sending", "accepted", "failed", "unknown", "cancelled")
_SMS = ("sent", "parts", "delivered", "failed", "expired", "rejected", "replies", "opt_outs")
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
            done = counts["intended"] - sum(counts[name] for name in _OPEN)
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
    """State, counts in groups and links of one execution as a table."""
    execution = client.get(f"/api/flow-executions/{execution_id}")
    stats = client.get(f"/api/flow-executions/{execution_id}/stats")
    table = Table(title=f"execution {execution_id}: {execution['state']}", title_justify="left")
    table.add_column("count")
    table.add_column("messages", justify="right")
    table.add_column("", justify="right")
    for group in groups_of(stats):
        for name, value, share in group:
            table.add_row(name, f"{value:,}", share)
        table.add_section()
    console.print(table)
    # A provider's words may be in the reason: square brackets in them are no markup.
    for words in dict.fromkeys((execution.get("warning"), execution.get("reason"))):
        if words:
            console.print(words, markup=False)
    if execution.get("prefect_url"):
        console.print(f"Prefect: {execution['prefect_url']}")


def rows_of(stats: dict[str, Any]) -> list[tuple[str, int]]:
    """The counts that are worth a line, in the order of a message's life."""
    return [(name, value) for group in groups_of(stats) for name, value, _ in group]


def groups_of(stats: dict[str, Any]) -> list[list[Row]]:
    """Groups of (name, count, rate as text), in the order of a message's life; what is 0 is left out, and so are empty groups."""
    counts, rates = stats["messages"], stats["rates"]
    named = {name: counts[name] for name in _STATES}
    excluded = {f"  excluded: {reason}": value for reason, value in stats["exclusions"].items()}
    groups = [
        [("intended", named.pop("intended"), ""), *_rows({**named, **excluded})],
        [
            *_rows({name: counts[name] for name in ("processed", "deferred")}),
            *_rows({"delivered": counts["delivered"]}, rates["delivery"]),
            *_rows({"hard bounces": counts["bounced"]}, rates["hard_bounce"]),
            *_rows(_by("bounces", stats["bounces"]["hard"]["by_class"])),
            *_rows({"soft bounces": counts["blocked"]}),
            *_rows(_by("soft bounces", stats["bounces"]["soft"]["by_class"])),
            *_rows({"dropped": counts["dropped"]}),
            *_rows(_by("dropped", stats["drops"]["by_reason"])),
        ],
        _engagement("opened", stats["opens"], rates["open"]),
        _engagement("clicked", stats["clicks"], rates["click"]),
        [
            *_rows({"complaints": stats["complaints"]}, rates["complaint"]),
            *_rows({"unsubscribed": stats["unsubscribes"]}, rates["unsubscribe"]),
        ],
        _sms(stats["sms_summary"]),
    ]
    return [group for group in groups if group]


def _engagement(what: str, block: dict[str, int], rate: dict[str, Any]) -> list[Row]:
    times = {f"  by people, {what} in all": block["human"], f"  by machines, {what} in all": block["machine"]}
    return [
        *_rows({f"{what} by people": block["unique_human"]}, rate),
        *_rows({f"{what} by machines": block["unique_machine"]}),
        *_rows(times),
    ]


def _sms(block: dict[str, Any]) -> list[Row]:
    rows = _rows({f"sms {name.replace('_', ' ')}": block[name] for name in _SMS})
    cost = block["cost"]
    if rows and cost:
        rows.append(("sms parts paid for", cost["parts"], f"{cost['amount']:,.2f} {cost['currency']}"))
    return rows


def _by(what: str, reasons: dict[str, int]) -> dict[str, int]:
    return {f"  {what}: {reason}": value for reason, value in reasons.items()}


def _rows(counts: dict[str, int], rate: dict[str, Any] | None = None) -> list[Row]:
    share = f"{rate['percent']:.2f} % of {rate['of']}" if rate and rate["percent"] is not None else ""
    return [(name, value, share) for name, value in counts.items() if value]
