"""Real databases for every test that asks for one, and settings that do not come from the developer's machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.orm import Session

from db.base import Base
from db.engine import get_database, make_engine, session_factory
from db.migrate import upgrade
from settings import get_settings

SERVER_URL = os.environ.get("ICS_TEST_DATABASE_URL", "")
# Rows that the migrations put there.
_KEPT = ("gates",)


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No `.env` and no ICS_ variable of the machine; a home that is gone after the test."""
    for name in list(os.environ):
        if (
            name.startswith(("ICS_", "SENDGRID_", "SENDMODE_", "PREFECT_"))
            and name != "ICS_TEST_DATABASE_URL"
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ICS_HOME", str(tmp_path))
    monkeypatch.setitem(get_settings.__wrapped__.__globals__["Settings"].model_config, "env_file", None)
    get_settings.cache_clear()
    get_database.cache_clear()
    yield
    get_settings.cache_clear()
    get_database.cache_clear()


@pytest.fixture(scope="session")
def _migrated(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, str]:
    """URLs of one database per kind and test process, made by the migrations themselves."""
    urls = {"sqlite": f"sqlite:///{tmp_path_factory.mktemp('db') / 'ics.db'}"}
    if SERVER_URL:
        urls["mysql"] = _make_database(f"ics_test_{worker_id}")
    for url in urls.values():
        upgrade(url)
    return urls


@pytest.fixture(params=["sqlite", "mysql"])
def database_url(request: pytest.FixtureRequest, _migrated: dict[str, str]) -> str:
    """An empty, migrated database: SQLite, then MariaDB or MySQL."""
    url = _migrated.get(request.param)
    if url is None:
        pytest.skip("no MariaDB or MySQL: run `make test`, or set ICS_TEST_DATABASE_URL")
    return url


@pytest.fixture
def engine(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine on the empty database; processes and routes of the test find it by ICS_DATABASE_URL."""
    monkeypatch.setenv("ICS_DATABASE_URL", database_url)
    get_settings.cache_clear()
    get_database.cache_clear()
    engine = make_engine(database_url)
    _empty(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with session_factory(engine)() as session:
        yield session


def _make_database(name: str) -> str:
    url = make_url(SERVER_URL)
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    server.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def _empty(engine: Engine) -> None:
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            if not table.name.endswith(_KEPT):
                connection.execute(table.delete())
