"""Which environment Prefect's processes get."""

from pathlib import Path

from deployments.prefect_environment import client_environment, server_environment, worker_environment
from settings import Settings


def settings(home: Path) -> Settings:
    return Settings(home=home, prefect_api_url="http://127.0.0.1:4201/api")


def test_prefect_is_found_and_keeps_its_files_in_our_home(tmp_path: Path) -> None:
    found = client_environment(settings(tmp_path), {})
    assert found["PREFECT_API_URL"] == "http://127.0.0.1:4201/api"
    assert found["PREFECT_HOME"] == str(tmp_path / "prefect")


def test_the_server_reports_nothing_to_anybody(tmp_path: Path) -> None:
    found = server_environment(settings(tmp_path), {})
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert found["DO_NOT_TRACK"] == "1"


def test_what_a_person_has_set_wins(tmp_path: Path) -> None:
    found = worker_environment(settings(tmp_path), {"PREFECT_WORKER_QUERY_SECONDS": "5"})
    assert found["PREFECT_WORKER_QUERY_SECONDS"] == "5"
    assert found["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


def test_the_servers_password_is_the_clients_too(tmp_path: Path) -> None:
    found = worker_environment(settings(tmp_path), {"PREFECT_SERVER_API_AUTH_STRING": "admin:secret"})
    assert found["PREFECT_API_AUTH_STRING"] == "admin:secret"
    assert "PREFECT_API_AUTH_STRING" not in worker_environment(settings(tmp_path), {})
