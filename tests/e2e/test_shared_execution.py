"""Scale-out, on the real stack: a large execution is split into shard runs, which three workers share."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.engine import get_database
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.deploy import PROJECT
from deployments.local import LocalStack, local_stack
from deployments.program import RunningProgram
from deployments.supervisor import programs
from settings import get_settings
from tasks.orchestration.prefect_api import count_workers
from tasks.orchestration.prefect_rest import OrchestratorUnavailable, call
from tests.e2e.platform import a_campaign, environment, use, wait_until

CLIENTS = 6000
WORKERS = 3
pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.xdist_group("prefect")]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalStack]:
    """With more workers, as they would run on machines of their own; each has room for one run."""
    values = {
        "ICS_SHARD_BATCHES": "10",
        "ICS_SHARDS_PER_WORKER": "1",
        "ICS_SEND_LANES": "2",
        "ICS_WORKER_LIMIT": "1",
    }
    use(monkeypatch, environment(tmp_path, **values))
    with local_stack(get_settings(), sandbox=True) as local, ExitStack() as more:
        worker = programs(local.settings, sandbox=True, environment={})["worker"]
        for number in range(2, WORKERS + 1):
            running = RunningProgram(
                replace(worker, name=f"worker-{number}"), home=local.settings.home, project=PROJECT
            )
            more.callback(running.stop)
            running.wait_ready()
        yield local


def test_three_workers_share_an_execution_and_everybody_gets_one_message(stack: LocalStack) -> None:
    sandbox = f"http://127.0.0.1:{stack.settings.sandbox_port}"
    token, _ = get_database().run(lambda s: create_token(s, "e2e"))
    wait_until(lambda: count_workers() == WORKERS)
    with ApiClient(stack.api_url, token) as client:
        flow = a_campaign(client, CLIENTS)
        # Answers take their time until every worker is at it, or two of them may have done it all before the third is there.
        fault = {"provider": "sendgrid", "kind": "latency", "count": 1000, "seconds": 3.0}
        httpx.post(f"{sandbox}/sandbox/faults", json=fault, trust_env=False).raise_for_status()
        execution = client.post(f"/api/flows/{flow}/send")
        runs = {"flow_runs": {"tags": {"all_": [f"execution-{execution['id']}"]}}}
        running = {"flow_runs": runs["flow_runs"] | {"state": {"type": {"any_": ["RUNNING"]}}}}
        wait_until(lambda: _answer("/flow_runs/count", running) == WORKERS)
        httpx.delete(f"{sandbox}/sandbox/faults", trust_env=False).raise_for_status()
        wait_until(lambda: client.get(f"/api/flow-executions/{execution['id']}")["state"] == "completed")
        stats = client.get(f"/api/flow-executions/{execution['id']}/stats", verify=True)
    journal = httpx.get(
        f"{sandbox}/sandbox/journal", params={"uid": execution["uid"]}, trust_env=False
    ).json()
    assert (journal["accepted"], journal["duplicates"]) == (CLIENTS, 0)
    assert stats["messages"]["accepted"] == CLIENTS
    assert stats["is_equal_to_recount"]

    def all_ended() -> bool:
        found = _answer("/flow_runs/filter", runs)
        return found is not None and all(run["state_type"] == "COMPLETED" for run in found)

    wait_until(all_ended)
    found = call("POST", "/flow_runs/filter", runs)
    shards = [run["name"].partition("· ")[2] for run in found if "shard" in run["name"]]
    assert sorted(shards) == ["shard 2 of 3", "shard 3 of 3"]
    assert call("POST", "/task_runs/count", runs) <= 200
    assert len({_worker_of(run["id"]) for run in found}) == WORKERS


def _answer(path: str, body: dict[str, Any]) -> Any:
    """None while Prefect is busy with the events of all these runs."""
    try:
        return call("POST", path, body)
    except OrchestratorUnavailable:
        return None


def _worker_of(flow_run_id: str) -> str:
    """The worker that ran it, by the log line with which it took it."""
    logs = call("POST", "/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run_id]}}})
    taken = (line["message"] for line in logs if "submitting flow run" in line["message"])
    return str(next(taken).split("'")[1])
