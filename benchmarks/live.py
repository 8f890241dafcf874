"""Listeners during a blast: what they cost the sending, and how soon they hear.

They are in a process of their own, as browsers are on machines of their own; the same two cores carry all of it.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import httpx
from sqlalchemy import update

from benchmarks import engine
from benchmarks.measured import Row
from db.engine import get_database
from db.models import Stats
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.local import LocalStack

LISTENERS = 200
_CHANGES = 20


def measure(local: LocalStack, client: ApiClient, sink: str, flow_id: int, recipients: int) -> Iterator[Row]:
    """The engine alone and with listeners, in turn, twice each: the better of two is compared."""
    token, _ = get_database().run(lambda s: create_token(s, "listeners"))
    alone, together, delays = [], [], []
    for _ in range(2):
        alone.append(engine.send(local, client, sink, flow_id, recipients, "engine alone"))
        with _listening(local.api_url, token, flow_id) as heard:
            together.append(engine.send(local, client, sink, flow_id, recipients, "engine, 200 listen"))
        delays.append(heard)
    best = min(alone, key=lambda row: row.seconds)
    yield best
    with_listeners = min(together, key=lambda row: row.seconds)
    updates = sum(each["updates"] for each in delays)
    yield Row(
        with_listeners.name, recipients, with_listeners.seconds, {"listeners": LISTENERS, "updates": updates}
    )
    yield _delay(local, client, token)


def live_verdicts(rows: list[Row]) -> Iterator[str]:
    by_name = {row.name: row for row in rows}
    alone, together = by_name["engine alone"], by_name["engine, 200 listen"]
    lost = 1 - together.per_second / alone.per_second
    yield f"200 listeners: the send rate loses {100 * lost:.1f} % (goal 5 %)"
    yield f"an update arrives after {by_name['update'].more['worst_ms']} ms at worst (goal 1,000)"


@contextmanager
def _listening(
    url: str, token: str, flow_id: int, execution_id: int | None = None
) -> Iterator[dict[str, Any]]:
    """200 listeners to the flow's next execution, or to the one that is named; what they heard is there at the end."""
    arguments = [url, token, str(flow_id), str(execution_id or 0), str(LISTENERS)]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live", *arguments],
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
        heard.update(json.loads(output.splitlines()[-1]) if output else {"updates": 0, "arrived": []})


def _delay(local: LocalStack, client: ApiClient, token: str) -> Row:
    """From a commit in the database to the last of the listeners, execution by execution number."""
    execution_id = client.get("/api/flow-executions", limit=1)["items"][0]["id"]
    changed = {}
    with _listening(local.api_url, token, 0, execution_id) as heard:
        for number in range(_CHANGES):
            time.sleep(1.1 + 0.07 * number)
            marker = 1_000_000 + number
            get_database().run(
                lambda s, n=marker: s.execute(
                    update(Stats).where(Stats.execution_id == execution_id).values(machine_clicks=n)
                )  # type: ignore[misc]
            )
            changed[marker] = time.time()
        time.sleep(1.5)
    arrived: dict[int, list[float]] = {}
    for marker, at in heard["arrived"]:
        arrived.setdefault(marker, []).append(at)
    if any(len(arrived.get(marker, [])) < LISTENERS for marker in changed):
        raise SystemExit("a change did not reach every listener")
    delays = [at - changed[marker] for marker in changed for at in arrived[marker]]
    more = {"median_ms": round(1000 * median(delays)), "worst_ms": round(1000 * max(delays))}
    return Row("update", len(delays), sum(delays), more)


async def _listen(url: str, token: str, flow_id: int, execution_id: int, count: int) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    heard: dict[str, Any] = {"updates": 0, "arrived": []}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=60, trust_env=False
    ) as client:
        before = 0 if execution_id else await _newest(client, flow_id)
        print("ready", flush=True)
        over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        execution = execution_id or await _next_execution(client, flow_id, before, over)
        listeners = [asyncio.create_task(_hear(client, execution, heard)) for _ in range(count)]
        await over
        for each in listeners:
            each.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)
    print(json.dumps(heard), flush=True)


async def _next_execution(
    client: httpx.AsyncClient, flow_id: int, before: int, over: "asyncio.Task[str]"
) -> int:
    while not over.done():
        if (found := await _newest(client, flow_id)) > before:
            return found
        await asyncio.sleep(0.05)
    raise SystemExit("nothing was sent")


async def _newest(client: httpx.AsyncClient, flow_id: int) -> int:
    page = (await client.get("/api/flow-executions", params={"flow_id": flow_id, "limit": 200})).json()
    return max((each["id"] for each in page["items"]), default=0)


async def _hear(client: httpx.AsyncClient, execution_id: int, heard: dict[str, Any]) -> None:
    async with client.stream("GET", f"/api/flow-executions/{execution_id}/events") as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                heard["updates"] += 1
                marker = json.loads(line.removeprefix("data: "))["messages"].get("machine_clicks", 0)
                if marker >= 1_000_000:
                    heard["arrived"].append((marker, time.time()))


if __name__ == "__main__":
    address, secret, *numbers = sys.argv[1:]
    asyncio.run(_listen(address, secret, *map(int, numbers)))
