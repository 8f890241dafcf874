"""The warm worker and `prefect_api` against a real Prefect server on a free port."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.deploy import PROJECT, deploy_all
from deployments.prefect_environment import server_environment, worker_environment
from deployments.prefect_server import BUSY_SECONDS
from deployments.program import Program, RunningProgram
from settings import Settings, get_settings
from tasks.orchestration import prefect_api
from tasks.orchestration.prefect_api import OrchestratorRefused, OrchestratorUnavailable, RunState
from tasks.orchestration.prefect_rest import call

pytestmark = [pytest.mark.slow, pytest.mark.prefect]

POOL = "worker-test"
WORKER = (
    "from deployments.worker import run_worker; from settings import get_settings; "
    f"run_worker(get_settings(), limit=4, pool={POOL!r})"
)


def eventually(seen: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Return as soon as `seen` says yes; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    port = free_port()
    home = tmp_path_factory.mktemp("ics")
    return Settings(
        home=home, prefect_port=port, prefect_api_url=f"http://127.0.0.1:{port}/api", _env_file=None
    )


@pytest.fixture(scope="module")
def server(server_settings: Settings) -> Iterator[RunningProgram]:
    port = str(server_settings.prefect_port)
    program = Program(
        name="prefect",
        command=(
            *(sys.executable, "-m", "deployments.prefect_server", "server", "start"),
            *("--host", "127.0.0.1", "--port", port),
        ),
        environment=server_environment(server_settings, {}),
        is_ready=lambda _: prefect_api_answers(server_settings.prefect_api_url),
        start_seconds=180.0,
    )
    running = RunningProgram(program, home=server_settings.home, project=PROJECT)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def prefect_api_answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1.0).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture
def api(server: RunningProgram, server_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of this process that lead to the server."""
    monkeypatch.setenv("PREFECT_API_URL", server_settings.prefect_api_url)
    monkeypatch.setenv("PREFECT_HOME", str(server_settings.home / "prefect"))
    get_settings.cache_clear()
    return get_settings()


@pytest.fixture
def worker(api: Settings, server_settings: Settings) -> Iterator[RunningProgram]:
    environment = {**worker_environment(server_settings, {}), "ICS_HOME": str(server_settings.home)}
    program = Program(
        name="worker",
        command=(sys.executable, "-c", WORKER),
        environment=environment,
        is_ready=worker_is_online,
        stop_seconds=15.0,
    )
    running = RunningProgram(program, home=server_settings.home, project=PROJECT)
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


def worker_is_online(pid: int) -> bool:
    workers = call("POST", f"/work_pools/{POOL}/workers/filter", {}) or []
    return any(each["name"].endswith(f"-{pid}") for each in workers)


@pytest.fixture
def deployment(api: Settings) -> str:
    return deploy_probe()


def deploy_probe(**more: Any) -> str:
    prefect_api.ensure_work_pool(POOL)
    directory = {"directory": str(Path(__file__).parent)}
    body = {
        "name": "probe",
        "flow_id": call("POST", "/flows/", {"name": "probe"})["id"],
        "work_pool_name": POOL,
        "entrypoint": "probe_flow.py:probe",
        "pull_steps": [{"prefect.deployments.steps.set_working_directory": directory}],
        **more,
    }
    return str(call("POST", "/deployments/", body)["id"])


class Probe:
    """One run of the probe."""

    def __init__(self, deployment: str, directory: Path, *, released: bool = False) -> None:
        self.pid_file, self.release_file = directory / "pid", directory / "release"
        if released:
            self.release()
        parameters = {"pid_file": str(self.pid_file), "release_file": str(self.release_file)}
        run = call("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})
        self.id = str(run["id"])

    def release(self) -> None:
        self.release_file.touch()

    def wait_until_it_runs(self) -> int:
        def running() -> bool:
            return (
                self.pid_file.exists()
                and bool(self.pid_file.read_text())
                and prefect_api.run_state(self.id) is RunState.RUNNING
            )

        eventually(running, "the flow run runs")
        return int(self.pid_file.read_text())

    def wait_for(self, state: RunState) -> None:
        eventually(lambda: prefect_api.run_state(self.id) is state, f"the flow run is {state}", seconds=45.0)


def template_of(worker_pid: int) -> int:
    """The process that the worker forks from: its child that runs the fork server."""
    listing = subprocess.run(
        ["ps", "-ww", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(maxsplit=2) for line in listing.splitlines()[1:]]
    found = [int(pid) for pid, parent, args in rows if int(parent) == worker_pid and "forkserver" in args]
    assert len(found) == 1, listing
    return found[0]


def test_a_run_is_done_in_a_process_of_its_own_and_its_log_reaches_prefect(
    worker: RunningProgram, deployment: str, tmp_path: Path
) -> None:
    first = Probe(deployment, tmp_path, released=True)
    first.wait_for(RunState.COMPLETED)
    pid = int(first.pid_file.read_text())

    eventually(lambda: not is_alive(pid), "its process has ended")
    assert pid not in (worker.pid, template_of(worker.pid))
    logs = {"logs": {"flow_run_id": {"any_": [first.id]}}}
    eventually(
        lambda: any(line["message"] == "the probe runs" for line in call("POST", "/logs/filter", logs)),
        "the log line is in Prefect",
    )


def test_cancelling_a_run_ends_its_process(worker: RunningProgram, deployment: str, tmp_path: Path) -> None:
    probe = Probe(deployment, tmp_path)
    pid = probe.wait_until_it_runs()

    prefect_api.cancel_run(probe.id)

    probe.wait_for(RunState.CANCELLED)
    eventually(lambda: not is_alive(pid), "its process has ended")


def test_a_killed_process_is_reported_as_a_crash_and_the_worker_goes_on(
    worker: RunningProgram, deployment: str, tmp_path: Path
) -> None:
    probe = Probe(deployment, tmp_path)

    os.kill(probe.wait_until_it_runs(), signal.SIGKILL)

    probe.wait_for(RunState.CRASHED)
    (tmp_path / "next").mkdir()
    Probe(deployment, tmp_path / "next", released=True).wait_for(RunState.COMPLETED)


def test_sigterm_ends_worker_and_run_and_the_run_is_reported(
    worker: RunningProgram, deployment: str, tmp_path: Path
) -> None:
    probe = Probe(deployment, tmp_path)
    pid, template = probe.wait_until_it_runs(), template_of(worker.pid)

    os.kill(worker.pid, signal.SIGTERM)

    eventually(lambda: worker.exit_code is not None, "the worker has ended")
    assert worker.exit_code == 0
    probe.wait_for(RunState.CRASHED)
    eventually(lambda: not is_alive(pid), "the flow run's process has ended")
    eventually(lambda: not is_alive(template), "the template has ended")


def test_a_killed_worker_leaves_no_idle_process_and_its_run_ends_by_itself(
    worker: RunningProgram, deployment: str, tmp_path: Path
) -> None:
    probe = Probe(deployment, tmp_path)
    pid, template = probe.wait_until_it_runs(), template_of(worker.pid)

    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: worker.exit_code is not None, "the worker is gone")
    assert is_alive(pid)

    probe.release()
    probe.wait_for(RunState.COMPLETED)
    eventually(lambda: not is_alive(pid) and not is_alive(template), "nothing of the worker is left")


def test_a_schedule_starts_a_run_by_itself(worker: RunningProgram, api: Settings, tmp_path: Path) -> None:
    """Prefect's scheduler needs a SQLAlchemy that it knows: with 2.1 it fails on every schedule."""
    parameters = {"pid_file": str(tmp_path / "pid")}
    deploy_probe(name="scheduled", parameters=parameters, schedules=[{"schedule": {"interval": 5.0}}])
    try:
        eventually((tmp_path / "pid").exists, "the schedule has started a run", seconds=60.0)
    finally:
        deploy_probe(name="scheduled", parameters=parameters, schedules=[])


def test_lists_are_read_with_explicit_nulls_as_prefects_own_client_sends_them(api: Settings) -> None:
    """With FastAPI 0.151 and newer Prefect's server refuses them, and with them half of its command line."""
    found = call("POST", "/deployments/filter", {"limit": None, "sort": None, "flows": None})
    assert isinstance(found, list)


def test_deploying_twice_gives_the_same_deployments(api: Settings) -> None:
    first = deploy_all(api)
    ids = [call("GET", f"/deployments/name/{name}")["id"] for name in first]

    assert deploy_all(api) == first
    assert [call("GET", f"/deployments/name/{name}")["id"] for name in first] == ids
    assert len(call("POST", "/automations/filter", {})) == 1


def test_an_execution_gets_one_run_per_attempt_even_without_a_deployment(api: Settings) -> None:
    deploy_all(api)

    def ask(attempt: int) -> str:
        return prefect_api.create_execution_run(
            flow_id=41,
            execution_id=7,
            execution_uid="k3f9a0b1c2d4",
            attempt=attempt,
            flow_name="Spring Sale",
            channel="email",
        )

    first = ask(1)
    assert ask(1) == first
    assert ask(2) != first
    run = call("GET", f"/flow_runs/{first}")
    assert run["name"] == "Spring Sale · execution 7"
    assert run["parameters"] == {"flow_id": 41, "execution_id": 7}
    assert set(run["tags"]) == {"ics", "email", "flow-41", "execution-7"}
    assert prefect_api.run_state(first) is RunState.SCHEDULED
    prefect_api.cancel_run(first)
    assert prefect_api.run_state(first) is RunState.CANCELLED


def test_a_renamed_flow_keeps_one_deployment_with_its_present_schedule(api: Settings) -> None:
    deploy_all(api)
    weekly = {"rrule": "DTSTART:20270104T090000\nRRULE:FREQ=WEEKLY;BYDAY=MO", "timezone": "Europe/Dublin"}
    prefect_api.upsert_flow_deployment(42, name="Été à Paris", channel="sms", schedule=weekly)

    renamed = prefect_api.upsert_flow_deployment(42, name="Autumn", channel="sms", schedule=weekly)

    tagged = {"deployments": {"tags": {"all_": ["flow-42"]}}}
    assert [each["name"] for each in call("POST", "/deployments/filter", tagged)] == ["autumn-42"]
    assert [each["schedule"] for each in call("GET", f"/deployments/{renamed}")["schedules"]] == [weekly]
    prefect_api.upsert_flow_deployment(42, name="Autumn", channel="sms", schedule=None)
    assert call("GET", f"/deployments/{renamed}")["schedules"] == []
    prefect_api.delete_flow_deployment(42)
    assert prefect_api.find_flow_deployment(42) is None


def test_a_schedule_that_prefect_does_not_understand_is_refused_and_leaves_the_old_one(api: Settings) -> None:
    deploy_all(api)
    daily = {"cron": "0 9 * * *", "timezone": "Europe/Dublin", "day_or": True}
    kept = prefect_api.upsert_flow_deployment(43, name="Kept", channel="email", schedule=daily)

    with pytest.raises(OrchestratorRefused):
        prefect_api.upsert_flow_deployment(43, name="New name", channel="email", schedule={"cron": "no"})

    assert prefect_api.find_flow_deployment(43) == kept
    assert issubclass(OrchestratorRefused, OrchestratorUnavailable)


def test_a_run_that_prefect_does_not_know_has_no_state(api: Settings) -> None:
    assert prefect_api.run_state("00000000-0000-0000-0000-000000000000") is None


def test_a_locked_database_of_prefect_is_waited_for_for_seconds_only(
    api: Settings, server_settings: Settings
) -> None:
    """Prefect's own patience is a minute, in which it answers nobody."""
    path = server_settings.home / "prefect" / "prefect.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        answer = httpx.post(f"{api.prefect_api_url}/flows/", json={"name": "while-locked"}, timeout=60.0)
        took = time.monotonic() - started
        other.execute("ROLLBACK")
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert took < 4 * BUSY_SECONDS
    eventually(lambda: call("POST", "/flows/", {"name": "while-locked"}) is not None, "it answers again")
