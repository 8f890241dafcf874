"""Our engine as its users have it: API, Prefect server, worker and database, from the 202 to `completed`."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import median

from benchmarks.measured import Row
from benchmarks.memory import watched
from benchmarks.workload import sink_report
from db.engine import get_database
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.local import LocalStack, local_stack
from settings import get_settings
from tasks.orchestration.prefect_rest import call

POLL_SECONDS = 0.25
DEADLINE_SECONDS = 1800.0
STARTS = 5


@contextmanager
def platform(database_url: str, sink: str, **environment: str) -> Iterator[tuple[LocalStack, ApiClient]]:
    """The whole stack on this machine, sending to the sink."""
    with tempfile.TemporaryDirectory(prefix="ics-bench-") as home:
        values = {
            "ICS_HOME": home,
            "ICS_DATABASE_URL": database_url,
            "SENDGRID_API_KEY": "bench",
            "SENDGRID_BASE_URL": sink,
            "SENDMODE_API_KEY": "bench",
            "SENDMODE_BASE_URL": sink,
            **environment,
        }
        with _environment(values), local_stack(get_settings(), sandbox=False) as local:
            token, _ = get_database().run(lambda s: create_token(s, "bench"))
            with ApiClient(local.api_url, token) as client:
                yield local, client


def send(local: LocalStack, client: ApiClient, sink: str, flow_id: int, recipients: int, name: str) -> Row:
    """Send the flow; everybody must be accepted, or there is no figure."""
    sink_report(sink)
    with watched(local.stack.pid("worker")) as peak:
        execution = client.post(f"/api/flows/{flow_id}/send")
        asked, asked_at = time.perf_counter(), time.time()
        state = _wait(client, execution["id"])
        seconds = time.perf_counter() - asked
    report = sink_report(sink)
    counts = client.get(f"/api/flow-executions/{execution['id']}/stats")["messages"]
    if state != "completed" or counts["accepted"] != recipients:
        raise SystemExit(f"{name}: {state}, {counts}")
    return Row(
        name,
        recipients,
        seconds,
        {
            "requests": report["requests"],
            "first_request_after": round(report["first_at"] - asked_at, 2),
            "task_runs": count_task_runs(execution["id"]),
            "worker_mb": round(peak.tree),
            "largest_process_mb": round(peak.process),
        },
    )


def starts(local: LocalStack, client: ApiClient, sink: str, flow_id: int, recipients: int) -> Row:
    """How long a small campaign takes to reach the provider, on an idle machine; the median and the worst."""
    rows = []
    for _ in range(STARTS):
        rows.append(send(local, client, sink, flow_id, recipients, "start"))
        # Prefect's server works off the events of a run for some seconds; the question is about an idle one.
        time.sleep(5)
    first = [float(str(row.more["first_request_after"])) for row in rows]
    seconds = median(row.seconds for row in rows)
    return Row(
        "start of a small campaign",
        recipients,
        seconds,
        {"first_request_after": round(median(first), 2), "worst": max(first), "runs": STARTS},
    )


def count_task_runs(execution_id: int) -> int:
    """Of the execution's run and of all its shards."""
    runs = {"flow_runs": {"tags": {"all_": [f"execution-{execution_id}"]}}}
    return int(call("POST", "/task_runs/count", runs))


def _wait(client: ApiClient, execution_id: int) -> str:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        state = str(client.get(f"/api/flow-executions/{execution_id}")["state"])
        if state in ("completed", "settling", "paused", "failed", "cancelled"):
            return state
        if time.monotonic() > deadline:
            raise SystemExit(f"execution {execution_id} is {state} after {DEADLINE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    _forget()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        _forget()


def _forget() -> None:
    get_settings.cache_clear()
    get_database.cache_clear()
