"""The local stack: Prefect's server, the sandbox, the API and the worker, started in order and stopped together.

    with Stack(get_settings(), sandbox=True) as stack:
        ...                  # Prefect boots meanwhile: a good moment for migrations and seeds
        stack.wait_ready()
        stack.run_forever()

Each program's output is in `ICS_HOME/logs/<name>.log`, its pid in `ICS_HOME/run/<name>.pid`. A program that dies, or
that somebody kills, is started again.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType
from typing import Final, Self

import httpx

from deployments.deploy import PROJECT, deploy_all
from deployments.prefect_environment import client_environment, server_environment, worker_environment
from deployments.program import Program, RunningProgram, StackError, kill_group
from settings import Settings
from tasks.orchestration.prefect_api import WORK_POOL

_WATCH_SECONDS: Final = 0.5
_STEADY_SECONDS: Final = 60.0
_LONGEST_PAUSE: Final = 30.0


class Stack:
    """The programs of one machine; a context manager that stops, on the way out, all that it has started.

    Args:
        settings: ports, addresses and `home`.
        sandbox: also run the providers' stand-in.
        environment: passed to every program besides the present environment, such as the sandbox's address.
        say: gets a line whenever something has been reached.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        sandbox: bool = False,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._settings = settings
        self._say = say
        self.programs = programs(settings, sandbox=sandbox, environment=environment or {})
        self._running: dict[str, RunningProgram] = {}
        self._groups: list[int] = []
        self._failures: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._old_handlers: dict[signal.Signals, object] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="stack-watcher", daemon=True)

    def __enter__(self) -> Self:
        for program in self.programs.values():
            require_free_port(program)
        self._old_handlers[signal.SIGTERM] = signal.signal(signal.SIGTERM, _exit)
        try:
            for name in ("prefect", "sandbox"):
                self._start(name)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_ready(self) -> None:
        """Start what is left and return when the whole stack can be used. Migrate the database before.

        Raises:
            StackError: a program does not start.
            OrchestratorUnavailable: Prefect is up but does not take the deployments.
        """
        self._start("api")
        self._wait("sandbox")
        self._wait("prefect")
        self._start("worker")
        deploy_all(self._settings)
        self._wait("api")
        self._wait("worker")
        self._watcher.start()

    def restart(self, name: str) -> None:
        """Stop the program if it runs, start it again and wait until it is ready."""
        with self._lock:
            if name in self._running:
                self._running.pop(name).stop()
            self._start(name)
            self._wait(name)

    def pid(self, name: str) -> int:
        """Of the running program, as in its pid file."""
        return self._running[name].pid

    def revive(self) -> None:
        """Start again whatever has died, with growing pauses while it keeps dying. Returns at once.

        The stack does this by itself twice a second once it is ready.
        """
        with self._lock:
            for name, running in list(self._running.items()):
                if running.exit_code is None:
                    continue
                if name not in self._not_before:
                    self._not_before[name] = time.monotonic() + self._pause(name, running)
                    self._say(f"{name} ended with code {running.exit_code}; it is started again")
                elif time.monotonic() >= self._not_before[name]:
                    del self._not_before[name]
                    self._start(name)

    def run_forever(self) -> None:
        """Return never: SIGTERM and Ctrl-C raise here, and the stack stops on the way out."""
        while True:
            self._stopping.wait(3600)

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH_SECONDS):
            self.revive()

    def stop(self) -> None:
        """Stop everything, the last started first. What outlived a killed program goes too."""
        previous = {each: signal.signal(each, signal.SIG_IGN) for each in (signal.SIGINT, signal.SIGTERM)}
        self._stopping.set()
        try:
            with self._lock:
                while self._running:
                    _, running = self._running.popitem()
                    running.stop()
                for group in self._groups:
                    kill_group(group)
        finally:
            for each, handler in (previous | self._old_handlers).items():
                signal.signal(each, handler)  # type: ignore[arg-type]

    def _start(self, name: str) -> None:
        if program := self.programs.get(name):
            running = RunningProgram(program, home=self._settings.home, project=PROJECT)
            self._running[name] = running
            self._groups.append(running.pid)

    def _wait(self, name: str) -> None:
        if running := self._running.get(name):
            running.wait_ready()
            self._say(f"{name} is up after {running.seconds_up:.1f} s  {running.program.address}".rstrip())

    def _pause(self, name: str, running: RunningProgram) -> float:
        steady = running.seconds_up > _STEADY_SECONDS
        self._failures[name] = 0 if steady else self._failures.get(name, 0) + 1
        return min(float(2 ** self._failures[name]) / 2, _LONGEST_PAUSE)


def programs(settings: Settings, *, sandbox: bool, environment: Mapping[str, str]) -> dict[str, Program]:
    """What the stack consists of, in the order of starting.

    Prefect's server is left out when `PREFECT_API_URL` names another one than the embedded one.
    """
    ours = {**client_environment(settings, os.environ), **environment}
    ics = (sys.executable, str(PROJECT / "cli.py"))
    api = f"http://{settings.api_host}:{settings.api_port}"
    ui = settings.prefect_api_url.removesuffix("/api")
    port = str(settings.prefect_port)
    found = []
    if settings.prefect_api_url == f"http://127.0.0.1:{port}/api":
        found.append(
            Program(
                name="prefect",
                command=(
                    *(sys.executable, "-m", "deployments.prefect_server", "server", "start"),
                    *("--host", "127.0.0.1", "--port", port),
                ),
                environment={**server_environment(settings, os.environ), **environment},
                is_ready=lambda _: _answers(f"{settings.prefect_api_url}/health"),
                address=ui,
                port=settings.prefect_port,
                port_variable="ICS_PREFECT_PORT",
                start_seconds=180.0,
            )
        )
    if sandbox:
        found.append(
            Program(
                name="sandbox",
                command=(*ics, "sandbox"),
                environment=ours,
                is_ready=lambda _: _listens("127.0.0.1", settings.sandbox_port),
                address=f"http://127.0.0.1:{settings.sandbox_port}",
                port=settings.sandbox_port,
                port_variable="ICS_SANDBOX_PORT",
            )
        )
    found.append(
        Program(
            name="api",
            command=(*ics, "api"),
            environment=ours,
            is_ready=lambda _: _answers(f"{api}/health"),
            address=api,
            port=settings.api_port,
            port_variable="ICS_API_PORT",
        )
    )
    found.append(
        Program(
            name="worker",
            command=(*ics, "worker"),
            environment={**worker_environment(settings, os.environ), **environment},
            is_ready=lambda pid: _worker_is_online(settings.prefect_api_url, pid),
            stop_seconds=30.0,
        )
    )
    return {program.name: program for program in found}


def require_free_port(program: Program) -> None:
    """
    Raises:
        StackError: something listens on the program's port already.
    """
    if program.port is None:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", program.port))
        except OSError as error:
            raise StackError(
                f"Port {program.port}, which {program.name} needs, is taken. Stop what uses it, or choose another "
                f"port with {program.port_variable}=..."
            ) from error


def _exit(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, auth=_auth()).is_success
    except httpx.HTTPError:
        return False


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _worker_is_online(prefect_api_url: str, pid: int) -> bool:
    url = f"{prefect_api_url}/work_pools/{WORK_POOL}/workers/filter"
    try:
        response = httpx.post(url, json={}, timeout=1.0, auth=_auth())
    except httpx.HTTPError:
        return False
    workers = response.json() if response.is_success else []
    return any(worker["name"].endswith(f"-{pid}") for worker in workers)


def _auth() -> tuple[str, str] | None:
    user, colon, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return (user, password) if colon else None
