"""The HTTP API on a real database, with a token."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine

from api.routers.public_pages import Maker
from db.engine import Database, get_database
from db.queries.tokens import create_token
from settings import get_settings
from tasks.cms import serving
from tasks.cms.serving import Pages
from tasks.cms.views import ViewCounter
from tasks.live import hub
from tasks.providers.sendgrid import SendGridMessenger
from tests.integration.api.running import RunningApi
from tests.integration.api.sites import Post

# Nothing listens there: whatever is asked of Prefect waits for the dispatcher.
NO_PREFECT = "http://127.0.0.1:9/api"


@pytest.fixture
def database(engine: Engine) -> Database:
    """The same as the API uses."""
    return get_database()


@pytest.fixture
def anonymous(app: FastAPI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API as somebody without a token sees it. An error that nobody handles is an answer, not an exception."""
    monkeypatch.setenv("PREFECT_API_URL", NO_PREFECT)
    get_settings.cache_clear()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def api(anonymous: TestClient, database: Database) -> TestClient:
    """The API with a token in every request."""
    plain, _ = database.run(lambda s: create_token(s, "tests"))
    anonymous.headers["Authorization"] = f"Bearer {plain}"
    return anonymous


@pytest.fixture
def running(app: FastAPI, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApi]:
    """The API on a socket; it looks for changes more often than it does for people."""
    monkeypatch.setattr(hub, "INTERVAL_SECONDS", 0.05)
    running = RunningApi(app, database)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def site(api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """The API, whose pages are those of the test's database, looked up at each view."""
    monkeypatch.setattr(serving, "LOOK_SECONDS", -1.0)
    app: Any = api.app
    pages = Pages(database, get_settings().public_url, Maker(get_settings()))
    monkeypatch.setattr(app.state, "pages", pages)
    monkeypatch.setattr(app.state, "views", ViewCounter(database))
    return api


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    found = Post()
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.tests")
    get_settings.cache_clear()
    monkeypatch.setattr(SendGridMessenger, "send", lambda _self, body, **more: found.send(body, **more))
    return found
