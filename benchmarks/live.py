"""Listeners during a blast: what they cost the sending, and how soon they hear."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from benchmarks import engine
from benchmarks.listeners import FIRST_MARKER
from benchmarks.measured import Row
from db.engine import get_database
from db.models import Stats
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.local import LocalStack

LISTENERS = 200
ROUNDS = 3
_CHANGES = 20


def measure(local: LocalStack, client: ApiClient, sink: str, flow_id: int, recipients: int) -> Iterator[Row]:
    """The engine alone and with listeners, in turn: medians are compared, since a single send differs by more than the goal."""
    token, _ = get_database().run(lambda s: create_token(s, "listeners"))
    alone, together, updates = [], [], 0
    for _ in range(ROUNDS):
        alone.append(engine.send(local, client, sink, flow_id, recipients, "engine alone"))
        with _listening(local.api_url, token, flow_id=flow_id) as heard:
            together.append(engine.send(local, client, sink, flow_id, recipients, "engine, 200 listen"))
        updates += int(heard["updates"])
    yield _middle(alone, recipients, {})
    yield _middle(together, recipients, {"listeners": LISTENERS, "updates": updates})
    yield _delay(local, client, token)


def live_verdicts(rows: list[Row]) -> Iterator[str]:
    by_name = {row.name: row for row in rows}
    alone, together = by_name["engine alone"], by_name["engine, 200 listen"]
    lost = 1 - together.per_second / alone.per_second
    yield f"{LISTENERS} listeners: the send rate loses {100 * lost:.1f} % (goal 5 %)"
    yield f"an update arrives after {by_name['update'].more['worst_ms']} ms at worst (goal 1,000)"


def _middle(rows: list[Row], recipients: int, more: dict[str, object]) -> Row:
    seconds = sorted(row.seconds for row in rows)
    spread = {"fastest_s": round(seconds[0], 2), "slowest_s": round(seconds[-1], 2)}
    return Row(rows[0].name, recipients, median(seconds), {**more, **spread})


@contextmanager
def _listening(url: str, token: str, *, flow_id: int = 0, execution_id: int = 0) -> Iterator[dict[str, Any]]:
    """Listeners to the flow's next execution, or to the one that is named; what they heard is there at the end.

    They are in a process of their own, as browsers are on machines of their own; here the same two cores carry all of it.
    """
    arguments = [url, token, str(flow_id), str(execution_id), str(LISTENERS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.listeners", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    heard: dict[str, Any] = {}
    try:
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the listeners did not start")
        yield heard
    finally:
        output, _ = process.communicate("", timeout=60)
        if process.returncode or not output:
            raise SystemExit("the listeners failed")
        heard.update(json.loads(output.splitlines()[-1]))


def _delay(local: LocalStack, client: ApiClient, token: str) -> Row:
    """From the commit of a change to each listener: a number that no campaign reaches marks the change."""
    execution_id = client.get("/api/flow-executions", limit=1)["items"][0]["id"]
    changed = {}
    with _listening(local.api_url, token, execution_id=execution_id) as heard:
        for number in range(_CHANGES):
            # At another moment between two looks each time.
            time.sleep(1.1 + 0.07 * number)
            marker = FIRST_MARKER + number
            get_database().run(lambda s, n=marker: _mark(s, execution_id, n))  # type: ignore[misc]
            changed[marker] = time.time()
        time.sleep(2)
    arrived: dict[int, list[float]] = {}
    for marker, at in heard["arrived"]:
        arrived.setdefault(marker, []).append(at)
    if any(len(arrived.get(marker, [])) != LISTENERS for marker in changed):
        raise SystemExit("a change did not reach every listener once")
    delays = [at - changed[marker] for marker in changed for at in arrived[marker]]
    more = {"median_ms": round(1000 * median(delays)), "worst_ms": round(1000 * max(delays))}
    return Row("update", len(delays), sum(delays), more)


def _mark(session: Session, execution_id: int, number: int) -> None:
    session.execute(update(Stats).where(Stats.execution_id == execution_id).values(machine_clicks=number))
