"""The providers' sandbox on a real socket, and a send engine that talks to it."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine

from api.app import create_app
from db.engine import Database
from db.states import Channel
from sandbox.app import create_app as create_sandbox
from sandbox.config import SandboxConfig
from sandbox.connections import BreakableProtocol
from settings import get_settings
from tasks.sending.attempts import ChannelSender
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine
from tasks.sending.factory import make_sendgrid, make_sendmode
from tasks.sending.sms import SmsSender
from tests.conftest import ask_often

SENDGRID_KEY = "SG.test"
SENDMODE_KEY = "sendmode-test"
PUBLIC_URL = "https://shop.example.com"
START_SECONDS = 10.0


class Sandbox:
    """A running sandbox, through its own routes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=10.0)

    def journal(self, uid: str) -> dict[str, Any]:
        """What was accepted of one execution."""
        return self._get("/sandbox/journal", uid=uid)  # type: ignore[no-any-return]

    def entries(self, uid: str) -> list[dict[str, Any]]:
        return self._get("/sandbox/journal/entries", uid=uid)  # type: ignore[no-any-return]

    def message(self, reference: str) -> dict[str, str]:
        """What the recipient of a message got."""
        return self._get(f"/sandbox/messages/{reference}")  # type: ignore[no-any-return]

    def fail(self, provider: str, kind: str, *, count: int = 1, seconds: float = 1.0) -> None:
        """The next `count` requests to the provider get this fault."""
        fault = {"provider": provider, "kind": kind, "count": count, "seconds": seconds}
        self._http.post("/sandbox/faults", json=fault).raise_for_status()

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, **params: str) -> Any:
        response = self._http.get(path, params=params)
        response.raise_for_status()
        return response.json()


@pytest.fixture(scope="session")
def app() -> FastAPI:
    """One application for all tests: it keeps nothing of its own, and finding its routes takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        ask_often(patch)
        get_settings.cache_clear()
        return create_app()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox of this test's own. Its webhooks go to a port where nobody listens."""
    config = SandboxConfig(
        home=tmp_path / "sandbox",
        sendgrid_api_key=SENDGRID_KEY,
        sendmode_api_key=SENDMODE_KEY,
        webhook_base_url="http://127.0.0.1:9",
        sendmode_webhook_secret="secret",
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_sandbox(config), http=BreakableProtocol, ws="none", log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    running = Sandbox(f"http://127.0.0.1:{listener.getsockname()[1]}")
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        assert thread.is_alive(), "the sandbox did not start"
        assert time.monotonic() < deadline, "the sandbox takes too long to start"
        time.sleep(0.01)
    yield running
    running.close()
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def send_engine(engine: Engine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[SendEngine]:
    """The engine as a worker makes it, but sending to the sandbox, and with little patience."""
    values = {
        "SENDGRID_API_KEY": SENDGRID_KEY,
        "SENDGRID_BASE_URL": sandbox.url,
        "SENDMODE_API_KEY": SENDMODE_KEY,
        "SENDMODE_BASE_URL": sandbox.url,
        "ICS_PUBLIC_URL": PUBLIC_URL,
        "ICS_PROVIDER_TIMEOUT_SECONDS": "2",
        "ICS_BATCH_LEASE_SECONDS": "30",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    settings = get_settings()
    mail, sms = make_sendgrid(settings), make_sendmode(settings)
    database = Database(engine)
    senders: dict[Channel, ChannelSender] = {
        Channel.EMAIL: EmailSender(database, mail, public_url=settings.public_url, key=b"key"),
        Channel.SMS: SmsSender(database, sms, max_parts=settings.sms_max_parts),
    }
    yield SendEngine(database, settings, senders)
    mail.close()
    sms.close()
