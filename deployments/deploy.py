"""`ics deploy`: tells Prefect what `prefect.yaml` says, as `prefect deploy --all` would, in a fraction of the time.

It may be run again at any time: everything is created or updated by name.
"""

import os
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from deployments.prefect_environment import client_environment
from settings import Settings
from tasks.orchestration.prefect_api import ensure_work_pool
from tasks.orchestration.prefect_rest import OrchestratorUnavailable, call

PROJECT: Final = Path(__file__).resolve().parent.parent
LOST_RUNS: Final = "Report flow runs that stopped sending heartbeats"
_HEARTBEATS_MISSED_AFTER: Final = 100.0
"""Seconds: three heartbeats of 30 s (`deployments/prefect_environment.py`) and a little."""


def deploy_all(settings: Settings, *, project: Path = PROJECT) -> list[str]:
    """Create or update the work pools, the deployments and the automation that finds lost runs.

    Returns:
        The deployments, as `<Prefect flow>/<deployment>`.

    Raises:
        OrchestratorUnavailable: Prefect does not do what it is asked.
    """
    os.environ.update(client_environment(settings, os.environ))
    document = yaml.safe_load((project / "prefect.yaml").read_text())
    for pool in sorted({deployment["work_pool"]["name"] for deployment in document["deployments"]}):
        ensure_work_pool(pool)
    deployed = [_deploy(deployment, document["pull"], project) for deployment in document["deployments"]]
    _ensure_automation(lost_runs_automation())
    return deployed


def _deploy(deployment: dict[str, Any], pull: list[dict[str, Any]], project: Path) -> str:
    function = deployment["entrypoint"].rpartition(":")[2]
    flow = _answer(call("POST", "/flows/", {"name": function.replace("_", "-")}))
    _answer(
        call("POST", "/deployments/", deployment_body(deployment, pull, project) | {"flow_id": flow["id"]})
    )
    return f"{flow['name']}/{deployment['name']}"


def deployment_body(deployment: dict[str, Any], pull: list[dict[str, Any]], project: Path) -> dict[str, Any]:
    """One deployment of `prefect.yaml` in the words of Prefect's REST API."""
    limit = deployment.get("concurrency_limit")
    return {
        "name": deployment["name"],
        "description": deployment["description"],
        "entrypoint": deployment["entrypoint"],
        "tags": deployment["tags"],
        "work_pool_name": deployment["work_pool"]["name"],
        "pull_steps": _in_project(pull, project),
        "parameter_openapi_schema": _parameter_schema(project / deployment["entrypoint"]),
        "enforce_parameter_schema": True,
        "schedules": [_schedule(schedule) for schedule in deployment.get("schedules", [])],
        "paused": False,
        "concurrency_limit": limit["limit"] if limit else None,
        "concurrency_options": {key: limit[key] for key in limit if key != "limit"} if limit else None,
    }


def _schedule(schedule: dict[str, Any]) -> dict[str, Any]:
    rule = {key: value for key, value in schedule.items() if key != "slug"}
    return {"schedule": rule, "slug": schedule["slug"], "active": True}


def _in_project(pull: list[dict[str, Any]], project: Path) -> list[dict[str, Any]]:
    """The pull steps with the project's directory for what `prefect deploy` takes from the shell."""
    return [
        {
            step: {key: str(project) if value == "{{ $PWD }}" else value for key, value in arguments.items()}
            for step, arguments in each.items()
        }
        for each in pull
    ]


def _parameter_schema(entrypoint: Path) -> dict[str, Any]:
    """What Prefect's UI asks a person who starts the run by hand."""
    # Importing Prefect takes seconds, and only this needs it.
    from prefect.utilities.callables import parameter_schema_from_entrypoint

    return parameter_schema_from_entrypoint(os.fspath(entrypoint)).model_dump_for_openapi()


def lost_runs_automation() -> dict[str, Any]:
    """Marks a run as crashed when its process and its worker were both killed, and nobody is left to say so.

    It only tidies Prefect's picture. Whether anything is sent again is decided by the ledger, so a run that is
    reported as lost too early does no harm.
    """
    flow_run = "prefect.flow-run"
    over = [f"{flow_run}.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", "Paused")]
    return {
        "name": LOST_RUNS,
        "description": "Made by `ics deploy`.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": [f"{flow_run}.*"]},
            "for_each": ["prefect.resource.id"],
            "after": [f"{flow_run}.heartbeat"],
            "expect": [f"{flow_run}.heartbeat", *over],
            "threshold": 1,
            "within": _HEARTBEATS_MISSED_AFTER,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "message": "No heartbeat came: the process of this run is gone.",
            }
        ],
    }


def _ensure_automation(automation: dict[str, Any]) -> None:
    body = {"automations": {"name": {"any_": [automation["name"]]}}}
    existing = call("POST", "/automations/filter", body)
    if existing:
        call("PUT", f"/automations/{existing[0]['id']}", automation)
    else:
        _answer(call("POST", "/automations/", automation))


def _answer(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise OrchestratorUnavailable("Prefect did not say what it has created")
    return answer
