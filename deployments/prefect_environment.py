"""The environment that Prefect's processes run in. What a person has set in the environment wins, always."""

from collections.abc import Mapping
from typing import Final

from settings import Settings

_SERVER: Final = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    # No block is used here, and registering the catalogue of them costs the first start a second.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    # Kept in memory, the leases of concurrency slots die with the server but the slots stay taken for ever.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}

_WORKER: Final = {
    "PREFECT_WORKER_QUERY_SECONDS": "0.5",
    # A run that is fetched early holds a process until its time comes.
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "15",
    # The shortest that Prefect allows. `deployments/deploy.py` makes the automation that listens to them.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
}


def client_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """For every process that imports Prefect: where its server is, how to log in, and a home of its own."""
    found = _unless_set(
        {
            "PREFECT_API_URL": settings.prefect_api_url,
            "PREFECT_HOME": str((settings.home / "prefect").absolute()),
            "DO_NOT_TRACK": "1",
        },
        environment,
    )
    password = environment.get("PREFECT_API_AUTH_STRING") or environment.get("PREFECT_SERVER_API_AUTH_STRING")
    return found | ({"PREFECT_API_AUTH_STRING": password} if password else {})


def server_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """For the embedded Prefect server: SQLite under `ICS_HOME/prefect`, no telemetry."""
    return client_environment(settings, environment) | _unless_set(_SERVER, environment)


def worker_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """For the worker and the flow runs that it starts."""
    return client_environment(settings, environment) | _unless_set(_WORKER, environment)


def _unless_set(values: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    return {name: environment.get(name) or value for name, value in values.items()}
