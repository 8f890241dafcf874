"""The promise, on the real stack: kill -9 of the worker and of all it runs, in the middle of a campaign."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.engine import get_database
from db.models import ClientList
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.local import LocalStack, local_stack
from settings import get_settings
from tests.builders import add_clients, free_port

CLIENTS = 3000
BATCH = 100
DEADLINE_SECONDS = 120.0
pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.xdist_group("prefect")]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalStack]:
    """Prefect, worker, API and sandbox on ports of their own, with short leases and small batches."""
    values = {
        "ICS_HOME": str(tmp_path),
        "ICS_API_PORT": str(free_port()),
        "ICS_PREFECT_PORT": str(free_port()),
        "ICS_SANDBOX_PORT": str(free_port()),
        "ICS_EMAIL_BATCH_SIZE": str(BATCH),
        "ICS_PROVIDER_TIMEOUT_SECONDS": "4",
        "ICS_BATCH_LEASE_SECONDS": "10",
        "ICS_ORPHAN_SECONDS": "6",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # What the stack sets for itself is gone after the test.
    for name in ("SENDGRID_API_KEY", "SENDGRID_BASE_URL", "SENDGRID_WEBHOOK_PUBLIC_KEYS", "SENDMODE_API_KEY"):
        monkeypatch.setenv(name, "")
    for name in ("SENDMODE_BASE_URL", "SENDMODE_WEBHOOK_SECRET", "ICS_SANDBOX_SEED"):
        monkeypatch.setenv(name, "")
    get_settings.cache_clear()
    with local_stack(get_settings(), sandbox=True) as local:
        yield local


def test_a_killed_worker_loses_nobody_and_sends_nothing_twice(stack: LocalStack) -> None:
    sandbox = f"http://127.0.0.1:{stack.settings.sandbox_port}"
    token, _ = get_database().run(lambda s: create_token(s, "e2e"))
    with ApiClient(stack.api_url, token) as client:
        flow = a_campaign(client)
        # Slow answers keep batches in the air when the worker dies.
        fault = {"provider": "sendgrid", "kind": "latency", "count": 1000, "seconds": 0.3}
        httpx.post(f"{sandbox}/sandbox/faults", json=fault, trust_env=False).raise_for_status()
        execution = client.post(f"/api/flows/{flow}/send")
        wait_until(lambda: accepted(sandbox, execution) >= 5 * BATCH)
        kill_tree(stack.stack.pid("worker"))
        assert accepted(sandbox, execution) < CLIENTS, "the campaign ended before the worker was killed"

        def ended() -> bool:
            state = client.get(f"/api/flow-executions/{execution['id']}")["state"]
            return state in ("completed", "settling") and not waiting_events(sandbox)

        wait_until(ended)
        stats = client.get(f"/api/flow-executions/{execution['id']}/stats", verify=True)
    counts = stats["messages"]
    journal = httpx.get(
        f"{sandbox}/sandbox/journal", params={"uid": execution["uid"]}, trust_env=False
    ).json()
    assert journal["duplicates"] == 0
    assert stats["is_equal_to_recount"]
    assert counts["intended"] == CLIENTS
    assert counts["accepted"] + counts["unknown"] == CLIENTS
    assert counts["accepted"] == journal["accepted"]
    # I8: at most one batch per lane can be in doubt.
    assert counts["unknown"] <= stack.settings.send_lanes * BATCH


def a_campaign(client: ApiClient) -> int:
    """An active email flow over the clients; returns its id."""

    def make(session: Any) -> int:
        client_list = ClientList(name="Everybody")
        session.add(client_list)
        session.flush()
        add_clients(session, CLIENTS, list_id=client_list.id)
        return int(client_list.id)

    list_id = get_database().run(make)
    template = client.post(
        "/api/templates",
        {"name": "T", "channel": "email", "subject": "Hi {{ client.first_name }}", "text": "Hello"},
    )
    flow = client.post(
        "/api/flows",
        {
            "name": "F",
            "client_list_id": list_id,
            "steps": [{"template_id": template["id"]}],
            "sender": {"from_email": "news@shop.example.com"},
        },
    )
    client.post(f"/api/flows/{flow['id']}/activate")
    return int(flow["id"])


def accepted(sandbox: str, execution: dict[str, Any]) -> int:
    found = httpx.get(f"{sandbox}/sandbox/journal", params={"uid": execution["uid"]}, trust_env=False)
    return int(found.json()["accepted"])


def waiting_events(sandbox: str) -> int:
    return int(httpx.get(f"{sandbox}/sandbox/outbox", trust_env=False).json()["pending"])


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def kill_tree(pid: int) -> None:
    """kill -9 of a process and of all its descendants, which the test's own stack started."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    doomed = {pid}
    while more := {child for child, parent in parents.items() if parent in doomed} - doomed:
        doomed |= more
    for each in doomed:
        os.kill(each, signal.SIGKILL)
