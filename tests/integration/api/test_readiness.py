"""`/ready` says what is wrong, and to everybody: so without the address of the database."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.engine import Database, get_database, make_engine
from db.migrate import downgrade, upgrade
from tests.integration.api.answers import problem_of


def ready_of(url: str) -> TestClient:
    app = create_app()
    app.dependency_overrides[get_database] = lambda: Database(make_engine(url))
    return TestClient(app, raise_server_exceptions=False)


def test_a_database_without_its_migrations_is_not_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    upgrade(url)
    downgrade(url, "-1")
    client = ready_of(url)
    detail = problem_of(client.get("/ready"), 503)["detail"]
    assert detail == "the database lacks 1 migrations: run `ics migrate`"
    assert client.get("/health").status_code == 200
    upgrade(url)
    assert client.get("/ready").status_code == 200


@pytest.mark.parametrize("url", ["mysql+pymysql://ics:swordfish@127.0.0.1:9/ics", "sqlite:///{folder}"])
def test_a_database_that_is_away_is_not_ready(url: str, tmp_path: Path) -> None:
    url = url.format(folder=tmp_path)
    problem = problem_of(ready_of(url).get("/ready"), 503)
    assert "does not answer" in problem["detail"]
    assert "swordfish" not in str(problem)
    assert "127.0.0.1" not in str(problem)
