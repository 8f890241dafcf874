"""Secrets and people with unmistakable names, and then a look into every place they must not be in."""

import json
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, inspect, text

from db.base import table
from db.engine import Database
from db.queries.tokens import create_token
from db.queries.users import insert_user
from db.states import Role
from settings import get_settings
from tasks.access.passwords import hash_password

PASSWORD = "canary password tulip 5521"
EMAIL, PHONE, NAME = "canary.bird@example.com", "+353879998877", "Canarina"
SECRETS = {"SENDGRID_API_KEY": "SG.canary-api-key", "SENDMODE_API_KEY": "canary-sendmode-key"}
PERSON = (EMAIL, "879998877", NAME)
# Where the addresses of clients belong, and nowhere else.
THEIR_PLACES = {
    table(name)
    for name in (
        *("clients", "messages", "unsubscribed", "consent_changes", "client_list_members", "client_lists"),
        *("events", "webhook_deliveries", "webhook_events", "import_changes", "import_rejects", "sign_ups"),
    )
}


@pytest.fixture
def client(app: FastAPI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def everything(engine: Engine) -> dict[str, str]:
    """Each table as text."""
    found = {}
    with engine.connect() as connection:
        for name in inspect(engine).get_table_names():
            rows = connection.execute(text(f"SELECT * FROM {name}")).all()
            found[name] = "\n".join(
                str([bytes(v) if isinstance(v, memoryview) else v for v in row]) for row in rows
            )
    return found


def test_secrets_and_people_are_only_where_they_belong(
    client: TestClient, engine: Engine, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    database = Database(engine)
    hashed = hash_password(PASSWORD)
    database.run(
        lambda s: insert_user(s, email="op@example.net", name="Op", role=Role.ADMIN, password_hash=hashed)
    )
    plain, _ = database.run(lambda s: create_token(s, "tests"))
    answers = []
    login = client.post("/api/auth/login", json={"email": "op@example.net", "password": PASSWORD})
    session = login.json()["token"]
    client.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
    client.headers["Authorization"] = f"Bearer {session}"
    body = {"email": EMAIL, "phone": PHONE, "first_name": NAME}
    made = client.post("/api/clients", json=body, headers={"Idempotency-Key": "canary-key-of-the-request"})
    assert made.status_code == 201, made.text
    link = client.post("/api/users", json={"email": "two@example.net", "name": "Two"}).json()["password_link"]
    token = client.post("/api/auth/tokens", json={"name": "till"}).json()["token"]
    endpoint = client.post(
        "/api/webhook-endpoints", json={"url": "https://crm.example.com/", "events": ["ping"]}
    ).json()
    # Whatever goes wrong says what, and not with what.
    answers += [
        client.post("/api/clients", json={**body, NAME: EMAIL}),
        client.get(f"/api/clients/{EMAIL}"),
        client.get(f"/api/nothing/{EMAIL}"),
        client.post("/api/flows/1/send"),
        client.post("/webhooks/sendgrid", json=[{"email": EMAIL}]),
        client.post(f"/unsubscribe/{NAME}"),
        client.get("/metrics"),
    ]
    client.get("/api/clients/export")
    # The look finds what is there.
    assert any(EMAIL in content for name, content in everything(engine).items() if name in THEIR_PLACES)
    client.delete(f"/api/clients/{made.json()['id']}")

    secrets = [
        plain,
        session,
        token,
        PASSWORD,
        link,
        endpoint["secret"],
        "canary-key-of-the-request",
        *SECRETS.values(),
    ]
    stored = everything(engine)
    assert sum(map(len, stored.values())) > 1_000
    for name, content in stored.items():
        for secret in secrets:
            assert secret not in content, name
        if name not in THEIR_PLACES:
            assert not any(mark in content for mark in PERSON), name
    logged = capsys.readouterr()
    for where in (logged.out, logged.err, caplog.text):
        for mark in (*secrets, *PERSON):
            assert mark not in where
    for answer in answers:
        shown = (
            answer.text if "json" not in answer.headers.get("content-type", "") else json.dumps(answer.json())
        )
        assert not any(secret in shown for secret in secrets), answer.url
        # An unknown field is named, which the caller has sent himself; its value is not.
        assert EMAIL not in shown, answer.url
