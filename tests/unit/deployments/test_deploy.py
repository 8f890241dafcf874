"""`prefect.yaml` as it is sent to Prefect."""

from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from deployments.deploy import PROJECT, deployment_body, lost_runs_automation
from tasks.orchestration.prefect_api import BULK_DEPLOYMENT, IMPORT_DEPLOYMENT, SEND_DEPLOYMENT, WORK_POOL

DOCUMENT: dict[str, Any] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
BY_NAME = {each["name"]: each for each in DOCUMENT["deployments"]}


def body(name: str) -> dict[str, Any]:
    return deployment_body(BY_NAME[name], DOCUMENT["pull"], PROJECT)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_deployment_runs_code_that_is_there_in_our_work_pool(name: str) -> None:
    path, _, function = BY_NAME[name]["entrypoint"].partition(":")
    assert f"\ndef {function}(" in (PROJECT / path).read_text()
    assert BY_NAME[name]["work_pool"]["name"] == WORK_POOL


def test_the_deployments_that_the_code_asks_for_are_there() -> None:
    names = {
        f"{each['entrypoint'].partition(':')[2].replace('_', '-')}/{name}" for name, each in BY_NAME.items()
    }
    assert {SEND_DEPLOYMENT, IMPORT_DEPLOYMENT, BULK_DEPLOYMENT} <= names


def test_code_runs_in_the_projects_directory() -> None:
    [step] = body("send-campaign")["pull_steps"]
    assert step == {"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}


def test_the_dispatcher_runs_alone_and_a_lost_one_does_not_block_it_for_long() -> None:
    dispatcher = body("dispatch-executions")
    assert dispatcher["concurrency_limit"] == 1
    assert dispatcher["concurrency_options"] == {
        "collision_strategy": "CANCEL_NEW",
        "grace_period_seconds": 60,
    }
    assert [each["schedule"] for each in dispatcher["schedules"]] == [{"interval": 15}]


def test_the_parameters_of_a_deployment_are_those_of_its_flow() -> None:
    schema = body("send-campaign")["parameter_openapi_schema"]
    assert set(schema["properties"]) == {"flow_id", "execution_id"}
    assert schema["required"] == ["flow_id"]


def test_a_run_counts_as_lost_only_after_several_missed_heartbeats() -> None:
    trigger = lost_runs_automation()["trigger"]
    assert trigger["within"] >= 3 * 30
    assert {"prefect.flow-run.heartbeat", "prefect.flow-run.Completed"} <= set(trigger["expect"])
