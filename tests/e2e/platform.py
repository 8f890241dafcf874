"""The whole platform on this machine, and what scenarios ask of it."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from db.engine import get_database
from db.models import ClientList
from deployments.client import ApiClient
from settings import get_settings
from tests.builders import add_clients, free_port

BATCH = 100
DEADLINE_SECONDS = 120.0


def environment(home: Path, **more: str) -> Mapping[str, str]:
    """Ports of its own, short leases and small batches."""
    return {
        "ICS_HOME": str(home),
        "ICS_API_PORT": str(free_port()),
        "ICS_PREFECT_PORT": str(free_port()),
        "ICS_SANDBOX_PORT": str(free_port()),
        "ICS_EMAIL_BATCH_SIZE": str(BATCH),
        "ICS_PROVIDER_TIMEOUT_SECONDS": "4",
        "ICS_BATCH_LEASE_SECONDS": "10",
        "ICS_ORPHAN_SECONDS": "6",
        **more,
    }


def files_of_prefect(home: Path) -> dict[str, bytes]:
    """What Prefect, and the processes around it, have written: its database and all logs."""
    kept = [path for path in home.rglob("*") if path.is_file()]
    mine = [
        path for path in kept if "ics.db" not in path.name and "sandbox" not in str(path.relative_to(home))
    ]
    return {str(path.relative_to(home)): path.read_bytes() for path in mine}


def use(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    """Make these the settings for the rest of the test."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # What the stack sets for itself is gone after the test.
    for name in ("SENDGRID_API_KEY", "SENDGRID_BASE_URL", "SENDGRID_WEBHOOK_PUBLIC_KEYS", "SENDMODE_API_KEY"):
        monkeypatch.setenv(name, "")
    for name in ("SENDMODE_BASE_URL", "SENDMODE_WEBHOOK_SECRET", "ICS_SANDBOX_SEED"):
        monkeypatch.setenv(name, "")
    get_settings.cache_clear()


def a_campaign(client: ApiClient, clients: int) -> int:
    """An active email flow over the clients; returns its id."""

    def make(session: Any) -> int:
        client_list = ClientList(name="Everybody")
        session.add(client_list)
        session.flush()
        add_clients(session, clients, list_id=client_list.id)
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


def wait_until(condition: Callable[[], bool]) -> None:
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
