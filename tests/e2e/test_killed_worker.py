"""The promise, on the real stack: kill -9 of the worker and of all it runs, in the middle of a campaign."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from db.engine import get_database
from db.queries.tokens import create_token
from deployments.client import ApiClient
from deployments.local import LocalStack, local_stack
from settings import get_settings
from tests.e2e.platform import (
    BATCH,
    a_campaign,
    accepted,
    environment,
    files_of_prefect,
    kill_tree,
    use,
    wait_until,
    waiting_events,
)

CLIENTS = 3000
pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.xdist_group("prefect")]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalStack]:
    use(monkeypatch, environment(tmp_path))
    with local_stack(get_settings(), sandbox=True) as local:
        yield local


def test_a_killed_worker_loses_nobody_and_sends_nothing_twice(stack: LocalStack) -> None:
    sandbox = f"http://127.0.0.1:{stack.settings.sandbox_port}"
    token, _ = get_database().run(lambda s: create_token(s, "e2e"))
    with ApiClient(stack.api_url, token) as client:
        flow = a_campaign(client, CLIENTS)
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
    # Runs, parameters, results, artifacts and logs have ids and counts, and nobody's address.
    written = files_of_prefect(stack.settings.home)
    assert any(b"send-campaign" in content for content in written.values())
    for name, content in written.items():
        assert b"@example." not in content, name
        assert token.encode() not in content, name
