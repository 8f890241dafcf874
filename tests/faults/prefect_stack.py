"""The scenarios that need Prefect: the whole local stack, killed in parts. The dispatcher has to pick up by itself."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from db.engine import Database, get_database, make_engine
from db.queries.executions import get_execution
from db.queries.tokens import create_token
from db.states import Channel
from deployments.client import ApiClient
from deployments.local import LocalStack, local_stack
from deployments.program import kill_group
from settings import get_settings
from tasks.orchestration.prefect_api import create_execution_run, run_state
from tests.builders import free_port
from tests.faults.campaign import Audience, Opened, add_audience
from tests.faults.processes import descendants, send
from tests.faults.rig import Rig, Sandbox, own_database, own_home
from tests.faults.run import POLL_SECONDS, Outcome, Run

CLIENTS: Final = 1200
BATCH: Final = 20
LATENCY: Final = 0.3
LEASE: Final = 8
LONGEST_SECONDS: Final = 90.0
"""Prefect's server on SQLite may take a while to be itself again; a campaign that is not over by then is stuck."""
_READY_SECONDS: Final = 60.0
_FLOW_RUNS: Final = 2  # Generations below the worker: its template process is the first.
_SETTINGS: Final = {
    "ICS_EMAIL_BATCH_SIZE": str(BATCH),
    "ICS_PROVIDER_TIMEOUT_SECONDS": "4",
    "ICS_BATCH_LEASE_SECONDS": str(LEASE),
    "ICS_ORPHAN_SECONDS": "6",
    "ICS_LOG_LEVEL": "WARNING",
}
_FOREIGN: Final = ("ICS_", "SENDGRID_", "SENDMODE_", "PREFECT_")


@dataclass
class FullStack:
    """The local stack, and the rig that scenarios see of it."""

    local: LocalStack
    rig: Rig
    client: ApiClient

    @property
    def worker_pid(self) -> int:
        return self.local.stack.pid("worker")

    def wait_ready(self) -> None:
        """Until all that was killed is there again."""
        deadline = time.monotonic() + _READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > deadline:
                raise TimeoutError("the stack did not come back")
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        stack = self.local.stack
        return all(
            program.is_ready(stack.pid(name)) for name, program in stack.programs.items() if name != "api"
        )


class StackRun(Run):
    """One campaign, asked for over HTTP and sent by Prefect's flow runs."""

    def __init__(self, stack: FullStack, name: str, *, seed: int) -> None:
        first = stack.rig.take_numbers(CLIENTS)
        audience = add_audience(
            stack.rig.database, f"{name} {first}", channel=Channel.EMAIL, clients=CLIENTS, first=first
        )
        execution: dict[str, Any] = stack.client.post(f"/api/flows/{audience.flow_id}/send")
        super().__init__(stack.rig, Opened(execution["id"], execution["uid"], audience))
        self.stack = stack
        self.name = name
        self.chance = Random(f"{seed}/{name}")
        self.lanes = stack.local.settings.send_lanes

    @property
    def audience(self) -> Audience:
        return self.campaign.audience

    def execute(self, inject: "Injector") -> Outcome:
        """Run to the end, whatever comes."""
        injector = threading.Thread(target=self._inject, args=(inject,), daemon=True)
        injector.start()
        deadline = time.monotonic() + LONGEST_SECONDS
        while not self.is_over or injector.is_alive():
            if time.monotonic() > deadline:
                self.problems.append(f"not over after {LONGEST_SECONDS:.0f} s: {self._prefect_says()}")
                break
            self.look()
            time.sleep(POLL_SECONDS)
        self.look()
        self.wait_for_evidence()
        outcome = self.outcome(self.name)
        self.stack.wait_ready()
        return outcome

    def _prefect_says(self) -> str:
        """How the last flow run of the execution stands."""
        key = self.campaign.execution_id
        with self.rig.database.reading() as session:
            execution = get_execution(session, key)
            asked_at, run_id = execution.dispatched_at, execution.prefect_flow_run_id
        return f"run {run_id}, asked for at {asked_at}, is {run_state(run_id) if run_id else None}"

    def _inject(self, inject: "Injector") -> None:
        try:
            inject(self)
        except Exception as error:
            self.problems.append(f"the injector failed: {type(error).__name__}: {error}")


Injector = Callable[[StackRun], None]


def _kill_worker_and_children(run: StackRun) -> None:
    run.injected["worker and flow run killed"] += 1
    run.wait_for(round(CLIENTS * run.chance.uniform(0.1, 0.5)))
    worker = run.stack.worker_pid
    for pid in (worker, *descendants(worker)):
        send(pid, signal.SIGKILL)
    run.strike("worker and flow run killed", doubt=run.lanes * BATCH)


def _kill_runner(run: StackRun) -> None:
    """The flow run goes on without its worker, which is started again beside it: two of them may work at once."""
    run.injected["runner killed"] += 1
    run.wait_for(round(CLIENTS * run.chance.uniform(0.1, 0.4)))
    send(run.stack.worker_pid, signal.SIGKILL)
    run.strike("runner killed", doubt=0)


def _kill_server(run: StackRun) -> None:
    run.injected["Prefect server killed"] += 1
    run.wait_for(round(CLIENTS * run.chance.uniform(0.1, 0.4)))
    kill_group(run.stack.local.stack.pid("prefect"))
    run.strike("Prefect server killed", doubt=0)


def _stop_flow_run(run: StackRun) -> None:
    """SIGSTOP of the flow run for longer than its lease; meanwhile the dispatcher starts another one."""
    run.injected["SIGSTOP flow run"] += 1
    run.wait_for(round(CLIENTS * run.chance.uniform(0.1, 0.4)))
    generations = descendants(run.stack.worker_pid)
    flow_runs = [pid for pid, generation in generations.items() if generation >= _FLOW_RUNS]
    for pid in flow_runs:
        send(pid, signal.SIGSTOP)
    run.strike("SIGSTOP flow run", doubt=run.lanes * BATCH)
    taken, deadline = run.taken, time.monotonic() + 3 * LEASE
    time.sleep(LEASE + 2)
    # Another run has begun, or there will be none: then the sleeper has to finish by itself.
    while run.taken <= taken and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for pid in flow_runs:
        send(pid, signal.SIGCONT)


def _run_twice(run: StackRun) -> None:
    """A second run of Prefect for an execution that has one, as after a mistaken crash report."""
    run.injected["second flow run"] += 1
    run.wait_for(1)
    create_execution_run(
        flow_id=run.audience.flow_id,
        execution_id=run.campaign.execution_id,
        execution_uid=run.campaign.uid,
        attempt=99,
        flow_name=run.audience.name,
        channel=Channel.EMAIL,
    )
    run.strike("second flow run", doubt=0)


SCENARIOS: Mapping[str, tuple[str, Injector]] = {
    "prefect_runner_killed": ("the worker is killed, its flow run stays alive", _kill_runner),
    "prefect_worker_killed": ("a worker is killed with all its children", _kill_worker_and_children),
    "prefect_flow_run_stopped": ("the flow run sleeps longer than its lease", _stop_flow_run),
    "prefect_two_runs": ("two flow runs of one execution", _run_twice),
    "prefect_server_killed": ("Prefect's server is killed, and started again", _kill_server),
}
"""name -> what it is, and what it does."""


@contextmanager
def full_stack(server_url: str, *, seed: int, logs: Path | None) -> Iterator[FullStack]:
    """Start everything, and leave the environment of this process as it was. In the main thread only."""
    with ExitStack() as stack:
        home = stack.enter_context(own_home(logs))
        url = stack.enter_context(own_database(server_url))
        stack.enter_context(_environment({"ICS_DATABASE_URL": url, "ICS_HOME": str(home)}))
        local = stack.enter_context(local_stack(get_settings(), sandbox=True, seed=seed))
        database = Database(make_engine(url))
        stack.callback(database.engine.dispose)
        sandbox = Sandbox(f"http://127.0.0.1:{local.settings.sandbox_port}", home / "sandbox" / "journal.db")
        stack.callback(sandbox.close)
        # Slow answers keep batches in the air.
        sandbox.fail("sendgrid", "latency", count=1_000_000, seconds=LATENCY)
        token, _ = database.run(lambda s: create_token(s, "fault suite"))
        client = stack.enter_context(ApiClient(local.api_url, token))
        yield FullStack(local, Rig(local.settings, {}, database, sandbox, {}), client)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """The stack's own settings in the environment, for as long as it runs."""
    before = dict(os.environ)
    ports = {name: str(free_port()) for name in ("ICS_API_PORT", "ICS_PREFECT_PORT", "ICS_SANDBOX_PORT")}
    for name in list(os.environ):
        if name.startswith(_FOREIGN) and name != "ICS_TABLE_PREFIX":
            del os.environ[name]
    os.environ.update({**_SETTINGS, **ports, **values})
    get_settings.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        if get_database.cache_info().currsize:
            get_database().engine.dispose()
        get_database.cache_clear()
        get_settings.cache_clear()
