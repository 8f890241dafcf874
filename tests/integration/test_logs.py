"""What is logged: JSON lines with the same keys, that name nobody and give away no secret, whatever goes wrong."""

import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, insert

from db.engine import Database, Session, get_database
from db.models import Client, WebhookDelivery
from db.queries.tokens import create_token
from db.states import InboxState
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.logs import capture_library_logs, configure_logs

EMAIL, PHONE, NAME = "canary.bird@example.com", "+353879998877", "Canarina"
SECRET = "canary-secret-of-the-path"
MARKS = (EMAIL, "canary.bird", "879998877", NAME, SECRET)


@pytest.fixture
def client(app: FastAPI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("SENDMODE_WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    # Written to what is stderr now.
    configure_logs("INFO")
    with TestClient(app, raise_server_exceptions=False) as client:
        plain, _ = get_database().run(lambda s: create_token(s, "tests"))
        client.headers["Authorization"] = f"Bearer {plain}"
        yield client


def lines(capsys: pytest.CaptureFixture[str], *secrets: str) -> list[dict[str, Any]]:
    """What was logged; fails when one of the marks is in it, or a line is not as all lines are."""
    captured = capsys.readouterr()
    for mark in (*MARKS, *secrets):
        assert mark not in captured.err + captured.out
    found = [json.loads(line) for line in captured.err.splitlines()]
    for line in found:
        assert {"event", "level", "timestamp"} <= line.keys()
        assert line["timestamp"].endswith("Z")
    return found


def token_of(client: TestClient) -> str:
    return str(client.headers["Authorization"]).removeprefix("Bearer ")


def fails_with_data(*_: Any, **__: Any) -> None:
    """Something breaks where data is at hand: in the message, in its cause, and in local variables."""
    address = EMAIL
    try:
        raise KeyError(address)
    except KeyError as error:
        name = NAME  # noqa: F841 - a local variable, which no traceback may show
        raise RuntimeError(f"cannot use {address}, {PHONE}") from error


def test_an_unexpected_error_names_no_client_no_token_and_no_path(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("db.queries.clients.get_client", fails_with_data)
    answer = client.get("/api/clients/7", headers={"X-Request-ID": "from-the-proxy.1"})
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (500, "from-the-proxy.1")
    (line,) = lines(capsys, token_of(client))
    assert line["request_id"] == "from-the-proxy.1"
    assert (line["route"], line["level"], line["error"]) == (
        "/api/clients/{client_id}",
        "error",
        "RuntimeError",
    )
    assert line["exception"][0]["exc_value"] == "cannot use <address>, <number>"
    assert any(frame["name"] == "fails_with_data" for frame in line["exception"][0]["frames"])


def test_the_secret_of_a_path_is_not_logged(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("api.routers.webhooks._receive", fails_with_data)
    assert (
        client.get(f"/webhooks/sendmode/reply/{SECRET}?mobilenumber={PHONE}&command={NAME}").status_code
        == 500
    )
    (line,) = lines(capsys)
    assert line["route"] == "/webhooks/sendmode/reply/{secret}"


def test_a_database_that_repeats_the_value_it_refuses_is_cut_short(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def insert_twice(session: Session, *_: Any) -> None:
        row = {"email": EMAIL, "identity_key": NAME, "first_name": NAME, "tags": [], "custom_fields": {}}
        session.execute(insert(Client), [row, row])

    monkeypatch.setattr("db.queries.clients.get_client", insert_twice)
    assert client.get("/api/clients/7").status_code == 500
    (line,) = lines(capsys)
    assert line["error"] == "IntegrityError"
    assert "hide_parameters" in str(line["exception"])


def test_a_webhook_that_cannot_be_applied_names_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(engine)
    body = json.dumps([{"email": EMAIL, "event": "open", "timestamp": 1790000000, "name": NAME}]).encode()
    configure_logs("INFO")
    database.run(lambda s: s.add(WebhookDelivery(source="sendgrid", body=body, state=InboxState.RECEIVED)))
    monkeypatch.setattr("tasks.feedback.apply.insert_events", fails_with_data)
    apply_waiting(database)
    found = lines(capsys)
    assert [line["event"] for line in found] == ["event not applied"]
    assert found[0]["delivery_id"]


def test_requests_that_are_refused_log_nothing_of_themselves(
    client: TestClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.post("/api/clients", json={"email": EMAIL, "first_name": NAME})
    client.post("/api/clients", json={"email": EMAIL, "first_name": NAME})
    client.post("/api/clients", json={"email": f"{EMAIL} {NAME}", NAME: PHONE})
    client.get("/api/clients", params={"q": EMAIL, NAME: PHONE})
    client.post(f"/webhooks/sendmode/delivery/{SECRET}x", content=f"mobilenumber={PHONE}".encode())
    client.get(f"/unsubscribe/{SECRET}")
    assert lines(capsys, token_of(client)) == []


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\u00e9", "{}"])
def test_a_request_without_a_usable_name_gets_one(client: TestClient, given: str) -> None:
    headers = {"X-Request-ID": given.encode("latin-1")}
    first, second = (client.get("/health", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert len(first) == 32
    assert first != second


def test_lines_of_other_libraries_are_lines_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO")
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        capture_library_logs("INFO")
        try:
            fails_with_data()
        except RuntimeError:
            logging.getLogger("uvicorn.error").exception("Exception in ASGI application for %s", EMAIL)
        logging.getLogger("sqlalchemy.pool").error("cannot connect to mysql://ics:%s@db/ics", SECRET)
    finally:
        root.handlers = before
    found = lines(capsys)
    assert [line["logger"] for line in found] == ["uvicorn.error", "sqlalchemy.pool"]
    assert found[0]["event"] == "Exception in ASGI application for <address>"
    assert found[0]["exception"][0]["exc_type"] == "RuntimeError"
