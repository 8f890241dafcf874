"""How often who may come: by address and by token, in one process and over several with Redis."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from api import throttling
from api.app import create_app
from api.errors import TooMany
from api.throttling import Budget, Limiter, LoginGuard, Moments, address_of
from benchmarks.peer_work import PeerMissing
from benchmarks.redis_server import redis_server
from db.engine import Database
from db.queries.tokens import create_token
from settings import Settings, get_settings
from tasks.access.logins import LoginRefused
from tests.builders import free_port
from tests.integration.api.answers import problem_of


@pytest.fixture
def limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API with small budgets, and a token."""
    for name, limit in (("ADDRESS", "100/minute"), ("TOKEN", "5/minute"), ("EXPORT", "2/minute")):
        monkeypatch.setenv(f"ICS_LIMIT_{name}", limit)
    monkeypatch.setenv("ICS_LIMIT_LOGIN", "3/minute")
    get_settings.cache_clear()
    app = create_app()
    plain, _ = database.run(lambda s: create_token(s, "tests"))
    with TestClient(app, headers={"Authorization": f"Bearer {plain}"}) as client:
        yield client


def test_one_visitor_has_no_more_mails_sent_than_his_share(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ICS_LIMIT_SIGN_UP", "2/hour")
    get_settings.cache_clear()
    with TestClient(create_app()) as client:
        sent = [client.post("/p/spring/sign-up", data={"email": "ada@example.com"}) for _ in range(3)]
        assert [each.status_code for each in sent] == [404, 404, 429]
        assert sent[2].headers["RateLimit-Policy"] == "2;w=3600"
        assert client.get("/p/spring/thank-you").status_code == 404
        assert client.get("/p/spring/sign-up").status_code == 405


def test_who_guesses_from_many_addresses_gets_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICS_LIMIT_ACCOUNT", "10/hour")
    limiter = Limiter(Settings())

    async def log_in(address: str, *, is_right: bool = False) -> None:
        async with LoginGuard(limiter, address).attempt("ada@example.com"):
            if not is_right:
                raise LoginRefused

    async def guess() -> None:
        for number in range(10):
            with pytest.raises(LoginRefused):
                await log_in(f"203.0.113.{number}")
            # Neither does the owner's success give a guesser his tries back, nor does it count.
            if number < 9:
                await log_in("198.51.100.7", is_right=True)
        with pytest.raises(TooMany, match="in 60 minutes"):
            await log_in("203.0.113.77")

    asyncio.run(guess())


def test_many_guesses_at_the_same_moment_are_counted_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICS_LIMIT_ACCOUNT", "10/hour")
    limiter, tried = Limiter(Settings()), []

    async def guess(number: int) -> None:
        async with LoginGuard(limiter, f"203.0.113.{number}").attempt("ada@example.com"):
            tried.append(number)
            await asyncio.sleep(0)
            raise LoginRefused

    async def guess_all() -> list[BaseException | None]:
        return await asyncio.gather(*(guess(number) for number in range(50)), return_exceptions=True)

    refused = asyncio.run(guess_all())
    assert len(tried) == 10
    assert sum(isinstance(each, TooMany) for each in refused) == 40


def test_who_logs_in_under_odd_names_does_not_keep_others_from_changing_their_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ICS_LIMIT_ACCOUNT", "3/hour")
    guard, blocked = LoginGuard(Limiter(Settings()), "203.0.113.1"), 0

    async def attempts() -> None:
        nonlocal blocked
        for _ in range(5):
            try:
                async with guard.attempt("login:change:2"):
                    raise LoginRefused
            except TooMany:
                blocked += 1
            except LoginRefused:
                pass
        async with guard.attempt("change:2"):
            pass

    asyncio.run(attempts())
    assert blocked == 2


def test_a_token_has_a_budget_and_is_told_what_is_left(limited: TestClient) -> None:
    left = [limited.get("/api/clients").headers["RateLimit-Remaining"] for _ in range(5)]
    assert left == ["4", "3", "2", "1", "0"]
    refused = limited.get("/api/clients")
    assert "at most 5 in 60 seconds" in problem_of(refused, 429)["detail"]
    assert refused.headers["RateLimit-Policy"] == "5;w=60"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Limit"] == "5"


def test_tokens_do_not_share_their_budgets(limited: TestClient, database: Database) -> None:
    for _ in range(6):
        limited.get("/api/clients")
    plain, _ = database.run(lambda s: create_token(s, "other"))
    other = limited.get("/api/clients", headers={"Authorization": f"Bearer {plain}"})
    assert other.headers["RateLimit-Remaining"] == "4"


def test_exports_have_a_budget_of_their_own(limited: TestClient) -> None:
    assert [limited.get("/api/clients/export").status_code for _ in range(3)] == [200, 200, 429]
    assert limited.get("/api/clients").status_code == 200


def test_strangers_use_up_the_budget_of_their_address(limited: TestClient) -> None:
    bad = {"Authorization": "Bearer nothing"}
    statuses = [limited.get("/api/clients", headers=bad).status_code for _ in range(101)]
    assert (statuses[:100], statuses[100]) == ([401] * 100, 429)
    # What watches over the process is never refused.
    assert limited.get("/health").status_code == 200


def test_logins_are_few(limited: TestClient) -> None:
    body = {"email": "ada@example.com", "password": "x"}
    statuses = [limited.post("/api/auth/login", json=body).status_code for _ in range(4)]
    assert statuses == [401, 401, 401, 429]


def test_the_window_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0

    async def scenario() -> None:
        nonlocal now
        monkeypatch.setattr("api.throttling.time.monotonic", lambda: now)
        moments = Moments()
        assert [await moments.acquire_entry("a", 2, 60) for _ in range(3)] == [True, True, False]
        now += 30
        assert await moments.acquire_entry("b", 2, 60)
        now += 30
        assert [await moments.acquire_entry("a", 2, 60) for _ in range(3)] == [True, True, False]
        assert (await moments.get_moving_window("b", 2, 60))[1] == 1

    asyncio.run(scenario())


def test_a_crowd_of_addresses_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(throttling, "MAX_KEYS", 100)
        moments = Moments()
        for number in range(1_000):
            await moments.acquire_entry(str(number), 2, 60)
        assert len(moments._moments) == 100

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_ipv6_subscriber_is_one_address(host: str, key: str) -> None:
    assert address_of({"type": "http", "client": (host, 1)}) == key


def test_who_is_not_a_trusted_proxy_cannot_say_that_he_is_somebody_else(limited: TestClient) -> None:
    bad = {"Authorization": "Bearer nothing"}
    for number in range(100):
        limited.get("/api/clients", headers={**bad, "X-Forwarded-For": f"192.0.2.{number}"})
    problem_of(limited.get("/api/clients", headers={**bad, "X-Forwarded-For": "198.51.100.1"}), 429)


def test_without_redis_each_process_counts_alone() -> None:
    async def scenario() -> None:
        limiter = Limiter(Settings(limits_url=f"redis://127.0.0.1:{free_port()}/0", limit_token="2/minute"))
        allowed = [(await limiter.spend(Budget.TOKEN, "1")).is_allowed for _ in range(3)]
        assert allowed == [True, True, False]

    asyncio.run(scenario())


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    """A Redis of its own, in a folder of its own."""
    try:
        with redis_server() as path:
            yield f"redis+unix://{path}"
    except PeerMissing as missing:
        pytest.skip(f"NOT TESTED: {missing}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # The database has no part in it.
def test_limits_hold_over_four_processes_with_redis(
    database: Database, redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ICS_LIMITS_URL", redis_url)
    monkeypatch.setenv("ICS_LIMIT_TOKEN", "50/hour")
    monkeypatch.setenv("ICS_DATABASE_URL", database.engine.url.render_as_string(hide_password=False))
    plain, _ = database.run(lambda s: create_token(s, "tests"))
    ports = [free_port() for _ in range(4)]
    processes = [start_api(port, monkeypatch) for port in ports]
    try:
        for port in ports:
            wait_for(port)
        headers = {"Authorization": f"Bearer {plain}"}

        def ask(number: int) -> int:
            url = f"http://127.0.0.1:{ports[number % 4]}/api/custom-fields"
            return httpx.get(url, headers=headers, timeout=30).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(ask, range(120)))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(20)
    assert (statuses.count(200), statuses.count(429)) == (50, 70)


def start_api(port: int, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[bytes]:
    monkeypatch.setenv("ICS_API_PORT", str(port))
    return subprocess.Popen([sys.executable, "-m", "cli", "api"], stdout=subprocess.DEVNULL)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise AssertionError(f"nothing answers on port {port}")
