"""What every answer says to a browser, and which pages may ask."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.engine import Database
from settings import get_settings

CONSOLE = "https://console.example.com"


@pytest.fixture
def with_console(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("ICS_CORS_ORIGINS", f"{CONSOLE}, https://app.example.com")
    monkeypatch.setenv("ICS_PUBLIC_URL", "https://mail.example.com")
    get_settings.cache_clear()
    app = create_app()
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/clients"),
        ("GET", "/health"),
        ("GET", "/nothing"),
        ("POST", "/webhooks/sendgrid"),
        ("POST", "/api/clients"),
        ("GET", "/unsubscribe/x"),
    ],
)
def test_every_answer_lets_a_browser_run_and_guess_nothing(
    anonymous: TestClient, method: str, path: str
) -> None:
    headers = anonymous.request(method, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "server" not in headers
    # Only over TLS would it mean something.
    assert "Strict-Transport-Security" not in headers


def test_no_cache_keeps_what_the_api_answers(api: TestClient) -> None:
    assert api.get("/api/clients").headers["Cache-Control"] == "no-store"


def test_over_https_a_browser_comes_back_over_https_only(with_console: TestClient) -> None:
    assert "max-age=31536000" in with_console.get("/health").headers["Strict-Transport-Security"]


def test_pages_of_known_origins_may_ask(with_console: TestClient) -> None:
    asked = {"Origin": CONSOLE, "Access-Control-Request-Method": "PATCH"}
    wanted = {"Access-Control-Request-Headers": "authorization,if-match,idempotency-key"}
    preflight = with_console.options("/api/clients/1", headers={**asked, **wanted})
    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    answer = with_console.get("/api/clients", headers={"Origin": CONSOLE})
    assert answer.headers["Access-Control-Allow-Origin"] == CONSOLE
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "https://console.example.com.evil.example", "null"]
)
def test_others_may_not(with_console: TestClient, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    assert with_console.options("/api/clients", headers=asked).status_code == 400
    answer = with_console.get("/api/clients", headers={"Origin": origin})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_without_the_setting_no_page_may(anonymous: TestClient) -> None:
    answer = anonymous.get("/api/clients", headers={"Origin": CONSOLE})
    assert "Access-Control-Allow-Origin" not in answer.headers
