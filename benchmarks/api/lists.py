"""Answer times of every list of the API, over HTTP, with whatever is in the database: meant for a million clients."""

import time
from collections.abc import Callable, Iterator
from statistics import median, quantiles
from typing import Any, Final

import httpx
from sqlalchemy import func, select

from benchmarks.feedback.api_process import api_process
from benchmarks.measured import Row
from db.engine import Database
from db.models import Client, FlowExecution, Message
from db.queries.tokens import create_token

_TIMES: Final = 200
_PLAIN: Final = (
    *(
        "client-lists",
        "templates",
        "flows",
        "flow-executions",
        "custom-fields",
        "unsubscribed",
        "failed-jobs",
    ),
    *(
        "member-imports",
        "webhook-events",
        "webhook-deliveries",
        "bulk-operations",
        "users",
        "audit",
        "cms/pages",
    ),
    *("cms/assets", "webhook-endpoints", "import-mappings"),
)


def measure(database_url: str, database: Database, note: Callable[[Row], None]) -> None:
    """Pages of 50 somewhere in the middle, one after the other."""
    token, _ = database.run(lambda s: create_token(s, "lists"))
    with database.reading() as session:
        clients = session.scalar(select(func.max(Client.id))) or 0
        messages = session.scalar(select(func.max(Message.id))) or 0
        execution = session.scalar(select(func.max(FlowExecution.id))) or 0
    wide = {f"ICS_LIMIT_{name}": "100000000/minute" for name in ("ADDRESS", "TOKEN")}
    with api_process(database_url, "", more=wide) as (port, _):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api", headers=headers, timeout=60) as api:
            note(_row(api, "clients", clients, lambda number: {"cursor": number * clients // _TIMES}))
            path = f"flow-executions/{execution}/messages"
            note(
                _row(
                    api,
                    path,
                    messages,
                    lambda number: {"cursor": number * messages // _TIMES},
                    name="messages",
                )
            )
            note(
                _row(
                    api,
                    "clients/{}/timeline",
                    clients,
                    lambda _: {},
                    place=lambda n: 1 + n * clients // _TIMES,
                )
            )
            for each in _PLAIN:
                note(_row(api, each, clients, lambda _: {}))


def list_verdicts(rows: list[Row]) -> Iterator[str]:
    lists = [row for row in rows if row.name.startswith("list ")]
    worst = max(lists, key=lambda row: float(str(row.more["p99_ms"])))
    yield f"list endpoints, p99 of the slowest ({worst.name}): {worst.more['p99_ms']} ms (goal 50)"


def _row(
    api: httpx.Client,
    path: str,
    size: int,
    params: Callable[[int], dict[str, Any]],
    *,
    name: str = "",
    place: Callable[[int], int] | None = None,
) -> Row:
    seconds = []
    for number in range(_TIMES):
        url = path.format(place(number)) if place else path
        began = time.perf_counter()
        answer = api.get(url, params=params(number))
        seconds.append(time.perf_counter() - began)
        if answer.status_code not in (200, 404):
            raise SystemExit(f"{url}: {answer.status_code} {answer.text[:200]}")
    p99 = quantiles(seconds, n=100)[98]
    more = {"median_ms": round(1000 * median(seconds), 1), "p99_ms": round(1000 * p99, 1)}
    return Row(f"list {name or path}", size, median(seconds), more)
