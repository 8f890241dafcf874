"""What scenarios run against: a database of their own, the sandbox and the API as processes, one set for all in turn."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text

from db.engine import Database, make_engine
from db.migrate import upgrade
from deployments.local import sandbox_environment
from deployments.program import Program, RunningProgram
from deployments.test_database import Server
from settings import Settings
from tests.builders import free_port
from tests.faults.workers import PROJECT

PROVIDER_TIMEOUT: Final = 2
LEASE: Final = 5
"""Seconds; the shortest that the settings allow."""
_SECRET_KEY: Final = "of the fault suite"
_migrating = threading.Lock()


class Sandbox:
    """The sandbox's own routes, and where its journal is."""

    def __init__(self, url: str, journal: Path) -> None:
        self.url = url
        self.journal = journal
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=10.0)

    def fail(
        self, provider: str, kind: str, *, count: int, seconds: float = 1.0, probability: float = 1.0
    ) -> None:
        """`count` of the next requests get this fault, each with the probability."""
        values = {"provider": provider, "kind": kind, "count": count}
        fault = values | {"seconds": seconds, "probability": probability}
        self._http.post("/sandbox/faults", json=fault).raise_for_status()

    def clear(self) -> None:
        self._http.delete("/sandbox/faults").raise_for_status()

    def fired(self) -> Mapping[str, int]:
        """How often each fault has fired since the sandbox started, by `provider:kind`."""
        return self._get("/sandbox/faults")["fired"]  # type: ignore[no-any-return]

    def pending_events(self) -> int:
        """Events that the platform has not acknowledged yet."""
        return int(self._get("/sandbox/outbox")["pending"])

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()


@dataclass
class Rig:
    """`environment` is that of every process; `server` is there when it may be killed."""

    settings: Settings
    environment: Mapping[str, str]
    database: Database
    sandbox: Sandbox
    programs: dict[str, RunningProgram]
    server: Server | None = None
    _numbers: int = 0

    def take_numbers(self, count: int) -> int:
        """The first of `count` numbers of clients that nobody else has."""
        first, self._numbers = self._numbers, self._numbers + count
        return first

    @property
    def home(self) -> Path:
        return self.settings.home

    @property
    def api_url(self) -> str:
        return f"http://{self.settings.api_host}:{self.settings.api_port}"

    def hold_evidence(self) -> None:
        """No webhook is answered from now on, as if the provider took its time: the API is stopped."""
        os.killpg(self.programs["api"].pid, signal.SIGSTOP)

    def let_evidence_in(self) -> None:
        os.killpg(self.programs["api"].pid, signal.SIGCONT)

    def restart(self, name: str) -> None:
        """Start a program again that was killed, and wait until it is ready."""
        old = self.programs.pop(name)
        old.stop()
        self.programs[name] = _started(old.program, self.home)


@contextmanager
def open_rig(server_url: str, home: Path, *, seed: int, server: Server | None = None) -> Iterator[Rig]:
    """A rig on a database of its own, which is dropped at the end.

    Raises:
        StackError: a program does not start.
    """
    with own_database(server_url) as url:
        settings = Settings(
            home=home,
            database_url=url,
            secret_key=SecretStr(_SECRET_KEY),
            api_port=free_port(),
            sandbox_port=free_port(),
            provider_timeout_seconds=PROVIDER_TIMEOUT,
            batch_lease_seconds=LEASE,
        )
        environment = {
            "ICS_HOME": str(home),
            "ICS_DATABASE_URL": url,
            "ICS_API_PORT": str(settings.api_port),
            "ICS_SANDBOX_PORT": str(settings.sandbox_port),
            "ICS_PROVIDER_TIMEOUT_SECONDS": str(PROVIDER_TIMEOUT),
            "ICS_BATCH_LEASE_SECONDS": str(LEASE),
            "ICS_SECRET_KEY": _SECRET_KEY,
            "ICS_LOG_LEVEL": "WARNING",
            **sandbox_environment(settings, seed),
        }
        sandbox = Sandbox(f"http://127.0.0.1:{settings.sandbox_port}", home / "sandbox" / "journal.db")
        database = Database(make_engine(url))
        programs: dict[str, RunningProgram] = {}
        try:
            for program in _programs(settings, environment):
                programs[program.name] = RunningProgram(program, home=home, project=PROJECT)
            for running in programs.values():
                running.wait_ready()
            yield Rig(settings, environment, database, sandbox, programs, server)
        finally:
            for running in programs.values():
                running.stop()
            sandbox.close()
            database.engine.dispose()


@contextmanager
def own_home(logs: Path | None) -> Iterator[Path]:
    """A folder for the block; what the programs have written is copied to `logs` at the end."""
    with tempfile.TemporaryDirectory(prefix="ics-faults-") as name:
        home = Path(name)
        try:
            yield home
        finally:
            if logs is not None and (home / "logs").exists():
                shutil.copytree(home / "logs", logs / home.name, dirs_exist_ok=True)


@contextmanager
def own_database(server_url: str) -> Iterator[str]:
    """The URL of a new, migrated database on the server."""
    name = f"ics_faults_{secrets.token_hex(4)}"
    url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    _on_server(server_url, f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    try:
        with _migrating:  # Alembic keeps its context in a global.
            upgrade(url)
        yield url
    finally:
        _on_server(server_url, f"DROP DATABASE {name}")


def _programs(settings: Settings, environment: Mapping[str, str]) -> list[Program]:
    def program(name: str, port: int, health: str) -> Program:
        return Program(
            name=name,
            command=(sys.executable, str(PROJECT / "cli.py"), name),
            environment=environment,
            is_ready=lambda _: _answers(f"http://127.0.0.1:{port}{health}"),
        )

    return [
        program("sandbox", settings.sandbox_port, "/sandbox/health"),
        program("api", settings.api_port, "/health"),
    ]


def _started(program: Program, home: Path) -> RunningProgram:
    running = RunningProgram(program, home=home, project=PROJECT)
    running.wait_ready()
    return running


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _on_server(url: str, statement: str) -> None:
    server = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with server.connect() as connection:
            connection.execute(text(statement))
    finally:
        server.dispose()
