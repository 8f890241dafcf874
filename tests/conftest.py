"""Real databases for every test that asks for one, and settings that do not come from the developer's machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from settings import Settings, get_settings

# Before the first import of `db`, which fixes the table prefix: a developer's `.env` has no say here. The prefix may
# still come from the environment, so that the suite can be run with another one.
Settings.model_config["env_file"] = None

from db.engine import get_database, make_engine, session_factory  # noqa: E402
from db.migrate import upgrade  # noqa: E402
from tests.builders import empty  # noqa: E402

SERVER_URL = os.environ.get("ICS_TEST_DATABASE_URL", "")
FOREIGN = ("ICS_", "SENDGRID_", "SENDMODE_", "PREFECT_")
FIXED = ("ICS_TEST_DATABASE_URL", "ICS_TABLE_PREFIX")

# The same commit passes or fails always; `--hypothesis-profile=search` looks for more. No time limit for an example:
# a busy machine is no failure.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, max_examples=2_000)
hypothesis.settings.load_profile("repeatable")


_shared: dict[str, Engine] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a Prefect server run in one process: starting it takes half a minute."""
    for item in items:
        if item.get_closest_marker("prefect"):
            item.add_marker(pytest.mark.xdist_group("prefect"))


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variable of the machine, and a home that is the test's own."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) and name not in FIXED:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ICS_HOME", str(tmp_path))
    ask_often(monkeypatch)
    _forget_settings()
    yield
    _forget_settings()


def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask more often than people do; those about limits set their own."""
    for name in ("ADDRESS", "TOKEN", "LOGIN", "ACCOUNT", "EXPORT", "SEND", "PAGES", "SIGN_UP"):
        monkeypatch.setenv(f"ICS_LIMIT_{name}", "1000000/minute")


@pytest.fixture(scope="session")
def _migrated(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, testrun_uid: str
) -> Iterator[dict[str, str]]:
    """URLs of one database per kind and test process, made by the migrations themselves."""
    urls = {"sqlite": f"sqlite:///{tmp_path_factory.mktemp('db') / 'ics.db'}"}
    name = f"ics_test_{testrun_uid[:8]}_{worker_id}"
    if SERVER_URL:
        _on_server(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        urls["mysql"] = make_url(SERVER_URL).set(database=name).render_as_string(hide_password=False)
    for url in urls.values():
        upgrade(url)
    yield urls
    if SERVER_URL:
        _on_server(f"DROP DATABASE {name}")


@pytest.fixture(scope="session")
def _engines(_migrated: dict[str, str]) -> Iterator[dict[str, Engine]]:
    """One engine for each of the URLs: connections and compiled statements of one test serve the next."""
    _shared.update((url, make_engine(url)) for url in _migrated.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("db.engine.make_engine", lambda url: _shared.get(url) or make_engine(url))
        yield _shared
    for engine in _shared.values():
        engine.dispose()
    _shared.clear()


@pytest.fixture(params=["sqlite", "mysql"])
def database_url(
    request: pytest.FixtureRequest, _migrated: dict[str, str], _engines: dict[str, Engine]
) -> str:
    """An empty, migrated database: SQLite, then MariaDB or MySQL."""
    url = _migrated.get(request.param)
    if url is None:
        pytest.skip("NOT TESTED on MariaDB or MySQL: run `make test`, or set ICS_TEST_DATABASE_URL")
    empty(_engines[url])
    return url


@pytest.fixture
def engine(database_url: str, _engines: dict[str, Engine], monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine on the empty database; what reads the settings finds it by ICS_DATABASE_URL."""
    monkeypatch.setenv("ICS_DATABASE_URL", database_url)
    _forget_settings()
    return _engines[database_url]


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on the empty database; what it did not commit is rolled back."""
    with session_factory(engine)() as session:
        yield session


def _forget_settings() -> None:
    if get_database.cache_info().currsize and get_database().engine not in _shared.values():
        get_database().engine.dispose()
    get_database.cache_clear()
    get_settings.cache_clear()


def _on_server(statement: str) -> None:
    server = create_engine(SERVER_URL, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(statement))
    server.dispose()
