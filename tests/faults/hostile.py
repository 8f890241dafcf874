"""`python -m tests.faults.hostile`: thousands of requests that must not be taken, against one API process on a socket.

None may be answered 2xx or 5xx, nothing may be written, and the process may not grow. The database is that of
ICS_TEST_DATABASE_URL, else SQLite. Exit code 1 when any of it does not hold.
"""

import argparse
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from db.base import Base
from db.engine import Database, make_engine
from db.migrate import upgrade
from deployments.program import Program, RunningProgram
from deployments.test_database import VARIABLE
from tests.builders import free_port
from tests.faults.hostile_requests import SENDMODE_SECRET, Attack, Attacker, Request
from tests.faults.rig import own_database
from tests.faults.workers import PROJECT

REFUSED: Final = frozenset({400, 401, 403, 408, 413, 422, 431})
MOST_GROWTH_BYTES: Final = 16 * 1024 * 1024
"""Less than 16 bodies of the largest size that is taken."""
_WARM_UP: Final = 1_000
_AT_A_TIME: Final = 8
_TIMEOUT_SECONDS: Final = 20.0
_CLOSED: Final = 0
"""The status of a request that was not answered: the connection was closed."""


@dataclass
class Report:
    """What became of the requests: statuses by kind, seconds of each, and the process and the database before and after."""

    statuses: dict[Attack, Counter[int]] = field(default_factory=lambda: {each: Counter() for each in Attack})
    seconds: list[float] = field(default_factory=list)
    rows: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
    memory: tuple[int, int] = (0, 0)
    total_seconds: float = 0.0
    good_status: int = 0

    @property
    def violations(self) -> list[str]:
        """What does not hold, in words."""
        found = [
            f"{attack}: answered {status} {count} times"
            for attack, counter in self.statuses.items()
            for status, count in counter.items()
            if status not in REFUSED and not (status == _CLOSED and attack in _MAY_BE_CLOSED)
        ]
        before, after = self.rows
        found += [
            f"{name}: {before[name]} rows became {after[name]}"
            for name in before
            if before[name] != after[name]
        ]
        if self.growth > MOST_GROWTH_BYTES:
            found.append(f"the process grew by {self.growth / 2**20:.0f} MB")
        if self.good_status != 204:
            found.append(f"a good request was answered {self.good_status}")
        return found

    @property
    def growth(self) -> int:
        """Bytes of resident memory after the first thousand requests, to the end."""
        return self.memory[1] - self.memory[0]


# Of these the rest of the request may still be on its way when the connection is closed.
_MAY_BE_CLOSED = frozenset({Attack.CUT, Attack.CHUNKED, Attack.OVERSIZED, Attack.MALFORMED})


@dataclass(frozen=True)
class Target:
    """One API process and its database."""

    port: int
    pid: int
    database: Database


def attack(target: Target, attacker: Attacker, *, count: int) -> Report:
    """Send `count` requests, several at a time, and look at what is left."""
    report = Report()
    began = time.monotonic()
    before = count_rows(target.database)
    warm_up = min(_WARM_UP, count // 2)
    _send_all(target.port, attacker.requests(warm_up), report)
    memory = resident_bytes(target.pid)
    _send_all(target.port, attacker.requests(count - warm_up), report)
    report.memory = (memory, resident_bytes(target.pid))
    report.rows = (before, count_rows(target.database))
    report.total_seconds = time.monotonic() - began
    report.good_status = send(target.port, attacker.good())
    return report


def send(port: int, request: Request) -> int:
    """The status of the answer; 0 when the connection was closed without one.

    Raises:
        TimeoutError: the server keeps the connection open and does not answer.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_SECONDS) as connection:
        # The server may answer and close while the rest is being sent.
        with suppress(BrokenPipeError, ConnectionResetError):
            for piece in request.pieces:
                connection.sendall(piece)
        if request.is_cut:
            return _CLOSED
        try:
            answer = connection.recv(4096)
        except ConnectionResetError:
            return _CLOSED
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else _CLOSED


def count_rows(database: Database) -> dict[str, int]:
    """The rows of every table."""
    with database.reading() as session:
        return {
            each.name: session.scalars(select(func.count()).select_from(each)).one()
            for each in Base.metadata.sorted_tables
        }


def resident_bytes(pid: int) -> int:
    """The resident memory of a process, as Linux tells."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextmanager
def open_target(database_url: str, home: Path, attacker: Attacker) -> Iterator[Target]:
    """A migrated database and an API process that trusts the attacker's provider."""
    port = free_port()
    program = Program(
        name="api",
        command=(sys.executable, str(PROJECT / "cli.py"), "api"),
        environment={
            "ICS_HOME": str(home),
            "ICS_DATABASE_URL": database_url,
            "ICS_API_PORT": str(port),
            "ICS_LOG_LEVEL": "WARNING",
            "SENDGRID_WEBHOOK_PUBLIC_KEYS": attacker.public_key,
            "SENDMODE_WEBHOOK_SECRET": SENDMODE_SECRET,
        },
        is_ready=lambda _: _answers(port),
        address=f"http://127.0.0.1:{port}",
    )
    running = RunningProgram(program, home=home, project=PROJECT)
    database = Database(make_engine(database_url))
    try:
        running.wait_ready()
        yield Target(port, running.pid, database)
    finally:
        running.stop()
        database.engine.dispose()


def show(console: Console, report: Report) -> None:
    """Print the report."""
    table = Table("requests", "number", "answers (0: closed)")
    for kind, counter in report.statuses.items():
        answers = ", ".join(f"{status}: {count}" for status, count in sorted(counter.items()))
        table.add_row(kind.value, f"{counter.total():,}", answers)
    console.print(table)
    seconds = sorted(report.seconds)
    console.print(
        f"{len(seconds):,} requests in {report.total_seconds:.0f} s; answered within {_at(seconds, 0.5):.1f} ms (median), "
        f"{_at(seconds, 0.99):.0f} ms (p99), {seconds[-1] * 1000:.0f} ms (longest)"
    )
    first, last = report.memory
    console.print(
        f"resident memory {first / 2**20:.1f} MB after the warm-up, {last / 2**20:.1f} MB at the end"
    )
    for each in report.violations:
        console.print(f"[red]VIOLATION[/red] {each}")
    console.print("all refused, nothing written, memory flat" if not report.violations else "")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="requests")
    parser.add_argument("--seed", type=int, default=20, help="of all that is drawn")
    options = parser.parse_args(argv)
    attacker = Attacker(options.seed)
    server_url = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory(prefix="ics-hostile-") as name:
        home = Path(name)
        embedded = f"sqlite:///{home / 'ics.db'}"
        with own_database(server_url) if server_url else nullcontext(embedded) as url:
            upgrade(url)
            with open_target(url, home, attacker) as target:
                report = attack(target, attacker, count=options.count)
    show(Console(highlight=False), report)
    return 1 if report.violations else 0


def _send_all(port: int, requests: Iterable[Request], report: Report) -> None:
    lock = Lock()
    waiting = iter(requests)

    def run() -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            began = time.monotonic()
            status = send(port, request)
            took = time.monotonic() - began
            with lock:
                report.statuses[request.attack][status] += 1
                report.seconds.append(took)

    with ThreadPoolExecutor(_AT_A_TIME) as threads:
        for future in [threads.submit(run) for _ in range(_AT_A_TIME)]:
            future.result()


def _at(seconds: Sequence[float], share: float) -> float:
    """Milliseconds."""
    return seconds[int(share * (len(seconds) - 1))] * 1000


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
