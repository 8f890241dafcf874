"""What we ask of Prefect: deployments of marketing flows, runs of executions, imports and bulk operations, and how a run stands.

The only module that does (through `prefect_rest.py`). Every function may raise `OrchestratorUnavailable`.
"""

import re
import unicodedata
from enum import StrEnum
from typing import Any, Final

from settings import get_settings
from tasks.orchestration.prefect_rest import (
    OrchestratorRefused,
    OrchestratorUnavailable,
    call,
)
from tasks.orchestration.prefect_schedules import schedule_of

__all__ = [
    "OrchestratorRefused",
    "OrchestratorUnavailable",
    "RunState",
    "cancel_run",
    "count_workers",
    "create_bulk_run",
    "create_execution_run",
    "create_import_run",
    "create_shard_run",
    "delete_flow_deployment",
    "deployment_url",
    "ensure_work_pool",
    "find_flow_deployment",
    "is_available",
    "run_state",
    "run_url",
    "schedule_of",
    "upsert_flow_deployment",
]

WORK_POOL: Final = "ics"
WORK_POOL_TYPE: Final = "ics-warm"
SEND_DEPLOYMENT: Final = "send-campaign/send-campaign"
SHARD_DEPLOYMENT: Final = "send-shard/send-shard"
IMPORT_DEPLOYMENT: Final = "import-members/import-members"
BULK_DEPLOYMENT: Final = "run-bulk-operation/run-bulk-operation"

_COPIED: Final = (
    "flow_id",
    "entrypoint",
    "path",
    "pull_steps",
    "work_pool_name",
    "work_queue_name",
    "job_variables",
    "parameter_openapi_schema",
    "version",
)


class RunState(StrEnum):
    """Prefect's types of states of a flow run."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Whether the run is over, however it ended."""
        return self in (RunState.COMPLETED, RunState.FAILED, RunState.CRASHED, RunState.CANCELLED)


def is_available() -> bool:
    """Whether Prefect answers now."""
    try:
        return call("GET", "/health") is True
    except OrchestratorUnavailable:
        return False


def ensure_work_pool(name: str, pool_type: str = WORK_POOL_TYPE) -> None:
    """Create the work pool unless there is one of that name, of whatever type."""
    if call("GET", f"/work_pools/{name}") is None:
        call("POST", "/work_pools/", {"name": name, "type": pool_type})


def find_flow_deployment(flow_id: int) -> str | None:
    """The id of the marketing flow's deployment."""
    found = _deployments_of(flow_id)
    return str(found[0]["id"]) if found else None


def upsert_flow_deployment(
    flow_id: int, *, name: str, channel: str, schedule: dict[str, Any] | None = None
) -> str:
    """Give the marketing flow a deployment of its own, under its present name and with its present schedule.

    It is a copy of the generic deployment `send-campaign` with a fixed `flow_id`, so what `prefect.yaml` says about
    code and work pool holds for it too.

    Args:
        schedule: from `schedule_of`; `None` leaves nothing to start by itself.

    Returns:
        The deployment's id.
    """
    generic = _named_deployment(SEND_DEPLOYMENT)
    deployment_name = f"{_slug(name)}-{flow_id}"
    body = {key: generic[key] for key in _COPIED} | {
        "name": deployment_name,
        "description": f"Sends the marketing flow “{name}”. Its schedule is kept in step with our database.",
        "parameters": {"flow_id": flow_id},
        "tags": ["ics", str(channel), _flow_tag(flow_id)],
        "schedules": [{"schedule": schedule, "active": True}] if schedule else [],
        "paused": False,
    }
    deployment_id = str(_created(call("POST", "/deployments/", body), "deployment")["id"])
    for other in _deployments_of(flow_id):
        if other["id"] != deployment_id:  # It had the flow's former name.
            call("DELETE", f"/deployments/{other['id']}")
    return deployment_id


def delete_flow_deployment(flow_id: int) -> None:
    """Remove the marketing flow's deployment, and with it the runs that its schedule has planned."""
    for deployment in _deployments_of(flow_id):
        call("DELETE", f"/deployments/{deployment['id']}")


def create_execution_run(
    *, flow_id: int, execution_id: int, execution_uid: str, attempt: int, flow_name: str, channel: str
) -> str:
    """Ask for a run of the execution; asking twice for the same attempt gives the same run.

    Returns:
        The flow run's id.
    """
    deployment_id = find_flow_deployment(flow_id) or upsert_flow_deployment(
        flow_id, name=flow_name, channel=channel
    )
    return _create_run(
        deployment_id,
        name=f"{flow_name} · execution {execution_id}",
        parameters={"flow_id": flow_id, "execution_id": execution_id},
        tags=[f"execution-{execution_id}"],
        idempotency_key=f"{execution_uid}-{attempt}",
    )


def create_import_run(*, import_id: int, import_uid: str, attempt: int) -> str:
    """Ask for a run of the member import; asking twice for the same attempt gives the same run.

    Returns:
        The flow run's id.
    """
    return _create_run(
        str(_named_deployment(IMPORT_DEPLOYMENT)["id"]),
        name=f"import {import_id}",
        parameters={"import_id": import_id},
        tags=[f"import-{import_id}"],
        idempotency_key=f"{import_uid}-{attempt}",
    )


def create_bulk_run(*, operation_id: int, operation_uid: str, attempt: int) -> str:
    """Ask for a run of the bulk operation; asking twice for the same attempt gives the same run.

    Returns:
        The flow run's id.
    """
    return _create_run(
        str(_named_deployment(BULK_DEPLOYMENT)["id"]),
        name=f"bulk operation {operation_id}",
        parameters={"operation_id": operation_id},
        tags=[f"bulk-operation-{operation_id}"],
        idempotency_key=f"{operation_uid}-{attempt}",
    )


def create_shard_run(*, execution_id: int, parent_run_id: str, number: int, shards: int) -> str:
    """Ask for shard `number` of `shards` of an execution; asking twice for the same parent gives the same run.

    Returns:
        The flow run's id.
    """
    return _create_run(
        str(_named_deployment(SHARD_DEPLOYMENT)["id"]),
        name=f"execution {execution_id} · shard {number} of {shards}",
        parameters={"execution_id": execution_id, "shards": shards},
        tags=[f"execution-{execution_id}"],
        idempotency_key=f"shard-{parent_run_id}-{number}",
    )


def count_workers(pool: str = WORK_POOL) -> int:
    """Workers of the pool that Prefect has heard of lately."""
    workers = call("POST", f"/work_pools/{pool}/workers/filter", {}) or []
    return sum(worker["status"] == "ONLINE" for worker in workers)


def run_state(flow_run_id: str) -> RunState | None:
    """How the run stands; `None` when Prefect no longer knows it."""
    run = call("GET", f"/flow_runs/{flow_run_id}")
    return RunState(run["state_type"]) if run and run["state_type"] else None


def cancel_run(flow_run_id: str) -> None:
    """Cancel the run: at once if it has not started, else its process is told to stop. A run that is over stays."""
    call(
        "POST", f"/flow_runs/{flow_run_id}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    )


def run_url(flow_run_id: str) -> str:
    """Where a person sees the run in Prefect's UI."""
    return f"{_ui()}/runs/flow-run/{flow_run_id}"


def deployment_url(deployment_id: str) -> str:
    """Where a person sees the deployment in Prefect's UI."""
    return f"{_ui()}/deployments/deployment/{deployment_id}"


def _create_run(
    deployment_id: str, *, name: str, parameters: dict[str, int], tags: list[str], idempotency_key: str
) -> str:
    body = {"name": name, "parameters": parameters, "tags": tags, "idempotency_key": idempotency_key}
    run = call("POST", f"/deployments/{deployment_id}/create_flow_run", body)
    return str(_created(run, "flow run")["id"])


def _named_deployment(name: str) -> dict[str, Any]:
    deployment: dict[str, Any] | None = call("GET", f"/deployments/name/{name}")
    if deployment is None:
        raise OrchestratorUnavailable(f"Prefect has no deployment {name}; `ics deploy` makes it")
    return deployment


def _deployments_of(flow_id: int) -> list[dict[str, Any]]:
    body = {"deployments": {"tags": {"all_": [_flow_tag(flow_id)]}}}
    found: list[dict[str, Any]] | None = call("POST", "/deployments/filter", body)
    return found or []


def _created(answer: dict[str, Any] | None, what: str) -> dict[str, Any]:
    if answer is None:
        raise OrchestratorUnavailable(f"Prefect lost what the new {what} belongs to")
    return answer


def _flow_tag(flow_id: int) -> str:
    return f"flow-{flow_id}"


def _slug(name: str) -> str:
    """Lower-case ASCII words joined by hyphens; `flow` when the name has none."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-") or "flow"


def _ui() -> str:
    return get_settings().prefect_api_url.removesuffix("/api")
