"""The throw-away server: it answers, keeps what was committed through kill -9, and is gone at the end."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from deployments.test_database import VARIABLE, NoServer, Server, throwaway_server

pytestmark = pytest.mark.slow
LAUNCHER = [sys.executable, "-m", "deployments.test_database", "--"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with throwaway_server() as server:
        yield server


def query(server: Server, statement: str) -> list[tuple[object, ...]]:
    def rows(connection: Connection) -> list[tuple[object, ...]]:
        result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []

    engine = create_engine(server.url)
    try:
        with engine.begin() as connection:
            return rows(connection)
    finally:
        engine.dispose()


def test_the_database_is_empty_and_speaks_utf8mb4(server: Server) -> None:
    assert query(server, "SELECT DATABASE(), @@character_set_database") == [("ics", "utf8mb4")]


def test_what_was_committed_survives_a_crash_of_the_server(server: Server) -> None:
    query(server, "CREATE TABLE kept (word VARCHAR(20)) ENGINE=InnoDB")
    query(server, "INSERT INTO kept VALUES ('☘ stays')")
    first = server.pid
    server.kill()
    with pytest.raises(NoServer):
        _ = server.pid
    server.start()
    assert server.pid != first
    assert query(server, "SELECT word FROM kept") == [("☘ stays",)]


def test_a_restart_keeps_the_url(server: Server) -> None:
    before = server.url
    server.restart()
    assert server.url == before
    assert query(server, "SELECT 1") == [(1,)]


def test_the_command_s_exit_code_is_passed_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [*LAUNCHER, "sh", "-c", f'test -n "${VARIABLE}" && exit 7'], env=_environment(tmp_path), check=False
    )
    assert done.returncode == 7
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_nothing_stays_behind_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    # The command ends by SIGTERM, and by SIGINT, which a terminal would send to it as well.
    command = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    launcher = subprocess.Popen(
        [*LAUNCHER, sys.executable, "-c", command], env=_environment(tmp_path), stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    pid = next(int(line) for line in launcher.stdout if line.strip().isdigit())
    launcher.send_signal(number)
    if number is signal.SIGINT:
        os.kill(pid, number)
    assert launcher.wait(timeout=60) == 128 + number
    launcher.stdout.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def _environment(folder: Path) -> dict[str, str]:
    """Without the suite's own server, so that the launcher starts one in `folder`."""
    inherited = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return inherited | {"TMPDIR": str(folder)}
