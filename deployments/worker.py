"""A Prefect worker whose flow runs start at once: each is a fork of a process that has imported everything.

It is `prefect worker start --type process` in every respect but one: where that starts a Python interpreter, which
imports for seconds, this forks a warm template (`deployments/warm_template.py`). Polling, state changes, the
concurrency limit and heartbeats are Prefect's `BaseWorker`; cancellation, crash reports and hooks are the classes
that Prefect's own process worker uses. Those are private to Prefect, which is why its version is pinned exactly.

A flow run survives a `kill -9` of its worker and ends by itself; the template ends with its last user.
"""

import asyncio
import logging
import multiprocessing
import os
import platform
import signal
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.to_thread
import httpx
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.context import refresh_global_settings_context
from prefect.flows import load_flow_from_flow_run
from prefect.runner._control_channel import ControlChannel
from prefect.runner._flow_run_executor import (
    FlowRunExecutionResult,
    FlowRunExecutor,
    FlowRunExecutorContext,
)
from prefect.runner._process_manager import ProcessHandle
from prefect.settings import get_current_settings
from prefect.utilities.processutils import sanitize_subprocess_env
from prefect.workers.base import BaseJobConfiguration, BaseVariables, BaseWorker, BaseWorkerResult

from deployments.prefect_environment import worker_environment
from deployments.warm_template import WARM, check_warm, run_flow_run
from settings import Settings
from tasks.orchestration.prefect_api import WORK_POOL, WORK_POOL_TYPE

_log = logging.getLogger(__name__)

STOP_SECONDS: Final = 20.0
"""How long the flow runs have to end after SIGTERM, before they are killed."""
AWAY_SECONDS: Final = 2.0
"""Between polls while Prefect cannot be reached."""


class WarmTemplate:
    """Forks processes from one that has imported everything.

    Where the platform has no fork server (Windows) the processes are spawned: slower, the same otherwise.
    """

    def __init__(self) -> None:
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        self._context.set_forkserver_preload(["__main__", "deployments.warm_imports"])

    async def warm_up(self) -> None:
        """Start the template and wait until it has imported everything: seconds, without blocking the loop."""
        await anyio.to_thread.run_sync(self._start_and_wait)

    def _start_and_wait(self) -> None:
        probe = self._context.Process(target=check_warm)
        probe.start()
        probe.join()
        if probe.exitcode != WARM:
            _log.warning("flow runs will start slowly: the template process could not import ahead of them")

    def fork(self, flow_run_id: str, environment: dict[str, str]) -> Any:
        """Start a process that runs the flow run.

        From one thread only: two that look at the end of the same process would take the exit code from each other.
        """
        process = self._context.Process(
            target=run_flow_run, args=(flow_run_id, environment), name=f"flow-run-{flow_run_id}"
        )
        process.start()
        return process


class WarmStarter:
    """Prefect's `ProcessStarter`: starts one flow run's process and returns when it has ended."""

    def __init__(
        self, template: WarmTemplate, *, environment: dict[str, str | None], control: ControlChannel
    ) -> None:
        self._template = template
        self._environment = environment
        self._control = control

    async def start(
        self, flow_run: FlowRun, task_status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Say that the process runs, then wait for its end."""
        environment = sanitize_subprocess_env(
            {
                **os.environ,
                **get_current_settings().to_environment_variables(exclude_unset=True),
                **self._environment,
                "PREFECT__FLOW_RUN_ID": str(flow_run.id),
                # The worker runs them, as in Prefect's own process worker.
                "PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS": "false",
                **self._control_address(flow_run),
            }
        )
        try:
            process = self._template.fork(str(flow_run.id), environment)
        except BaseException:
            self._control.unregister(flow_run.id)
            raise
        task_status.started(ProcessHandle(process))
        await anyio.wait_readable(process.sentinel)
        process.join()

    def _control_address(self, flow_run: FlowRun) -> dict[str, str]:
        """Where the process hears that it is being cancelled, before the signal comes."""
        with suppress(RuntimeError):  # No listener could be bound: cancellation is then a plain SIGTERM.
            port, token = self._control.register(flow_run.id)
            return {"PREFECT__CONTROL_PORT": str(port), "PREFECT__CONTROL_TOKEN": token}
        return {}


class WarmWorkerResult(BaseWorkerResult):
    """The exit code of a flow run's process."""


class WarmWorker(BaseWorker[BaseJobConfiguration, BaseVariables, WarmWorkerResult]):
    """Runs each flow run of a work pool in a fork of a warm template."""

    type = WORK_POOL_TYPE
    job_configuration = BaseJobConfiguration
    job_configuration_variables = BaseVariables
    _display_name = "ICS warm process"
    _description = "Runs flow runs in local processes that have imported the code beforehand."
    _documentation_url = "https://docs.prefect.io/v3/concepts/workers"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._template = WarmTemplate()
        self._executors: FlowRunExecutorContext | None = None
        self._active: set[anyio.Event] = set()
        self._stopping = False

    async def setup(self) -> None:
        """Warm the template before the first poll, so that the first flow run is as quick as the rest."""
        await self._template.warm_up()
        await super().setup()
        self._executors = await self._exit_stack.enter_async_context(FlowRunExecutorContext())

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Poll for flow runs, unless the worker is stopping.

        Prefect's own worker gives up, and ends its flow runs, when the server stays away for some polls. This one
        waits: the flow runs in progress need it, and they can do without the server for a while.
        """
        if self._stopping:
            return []
        try:
            return await super().get_and_submit_flow_runs()
        except httpx.HTTPError as error:
            self._logger.warning("Prefect cannot be polled: %r", error)
            await anyio.sleep(AWAY_SECONDS)
            return []

    async def _sync_and_initialize(self) -> None:
        try:
            await super()._sync_and_initialize()
        except httpx.HTTPError as error:
            self._logger.warning("Prefect did not take the worker's heartbeat: %r", error)

    async def run(
        self,
        flow_run: FlowRun,
        configuration: BaseJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> WarmWorkerResult:
        """Run the flow run to its end.

        Raises:
            RuntimeError: no process could be started; Prefect has been told that the run crashed.
        """
        if self._executors is None:
            raise RuntimeError("the worker has not been set up")
        starter = WarmStarter(
            self._template, environment=configuration.env, control=self._executors.control_channel
        )
        executor = self._executors.create_executor(
            flow_run, starter, resolve_flow=load_flow_from_flow_run, propose_submitting=False
        )
        self._active.add(ended := anyio.Event())
        try:
            result = await _execute(executor, task_status)
        finally:
            self._active.remove(ended)
            ended.set()
        if result is None or result.status_code is None:
            raise RuntimeError("the process of the flow run did not report how it ended")
        return WarmWorkerResult(status_code=result.status_code, identifier=str(result.handle.pid))

    async def stop_flow_runs(self, *, grace_seconds: float) -> None:
        """Take no more flow runs, tell those in progress to stop and wait until they have been reported."""
        self._stopping = True
        if self._executors is None:
            return
        processes = self._executors.process_manager
        for flow_run_id in processes.flow_run_ids():
            if handle := processes.get(flow_run_id):
                with suppress(ProcessLookupError):
                    handle.graceful_kill()
        with anyio.move_on_after(grace_seconds):
            for ended in list(self._active):
                await ended.wait()


async def _execute(
    executor: FlowRunExecutor, task_status: TaskStatus[int] | None
) -> FlowRunExecutionResult | None:
    """Tell Prefect's worker the process id as soon as there is one, then wait for the end."""
    result: FlowRunExecutionResult | None = None

    async def submit(*, task_status: TaskStatus[ProcessHandle] = anyio.TASK_STATUS_IGNORED) -> None:
        nonlocal result
        result = await executor.submit(task_status=task_status)

    async with anyio.create_task_group() as group:
        handle: ProcessHandle = await group.start(submit)
        if task_status is not None and handle.pid is not None:
            task_status.started(handle.pid)
    return result


def run_worker(settings: Settings, *, limit: int, pool: str = WORK_POOL) -> None:
    """Work for a pool until SIGTERM or SIGINT: at most `limit` flow runs at a time.

    The flow runs in progress are then told to stop (SIGTERM), and this returns when they have.
    """
    os.environ.update(worker_environment(settings, os.environ))
    refresh_global_settings_context()
    asyncio.run(_work(pool, limit))


def worker_name(pid: int) -> str:
    """What Prefect's UI calls the worker; `deployments/supervisor.py` knows it again by the process id."""
    return f"ics-{platform.node()}-{pid}"


async def _work(pool: str, limit: int) -> None:
    worker = WarmWorker(work_pool_name=pool, name=worker_name(os.getpid()), limit=limit)
    async with anyio.create_task_group() as group:
        group.start_soon(_stop_on_signal, worker, group.cancel_scope)
        await worker.start(printer=_log.info)
        group.cancel_scope.cancel()


async def _stop_on_signal(worker: WarmWorker, scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            await worker.stop_flow_runs(grace_seconds=STOP_SECONDS)
            scope.cancel()
            return
