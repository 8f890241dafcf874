"""Programs of the stack, played by small real processes."""

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.program import Program, RunningProgram, StackError
from deployments.supervisor import require_free_port

READY = "open('ready', 'w').close(); "
STAY = "import time\nwhile True: time.sleep(60)"


def program(code: str, home: Path, *, start_seconds: float = 20.0, stop_seconds: float = 5.0) -> Program:
    return Program(
        name="sample",
        command=(sys.executable, "-c", code),
        environment={"SAMPLE": "value"},
        is_ready=lambda _: (home / "ready").exists(),
        start_seconds=start_seconds,
        stop_seconds=stop_seconds,
    )


def group_is_gone(group: int) -> bool:
    """Whether every process of the group has ended; one that init has yet to collect takes a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


class Started:
    """Starts programs and stops them after the test."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.all: list[RunningProgram] = []

    def __call__(
        self, code: str, *, start_seconds: float = 20.0, stop_seconds: float = 5.0
    ) -> RunningProgram:
        sample = program(code, self.home, start_seconds=start_seconds, stop_seconds=stop_seconds)
        self.all.append(RunningProgram(sample, home=self.home, project=self.home))
        return self.all[-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    for each in started.all:
        each.stop()


def test_a_program_writes_its_log_and_its_pid_and_sees_its_environment(start: Started) -> None:
    running = start(f"import os; print('hello', os.environ['SAMPLE'], flush=True); {READY}{STAY}")
    running.wait_ready()
    assert (start.home / "run/sample.pid").read_text() == f"{running.pid}\n"
    assert (start.home / "logs/sample.log").read_text() == "hello value\n"


def test_a_program_that_dies_at_start_shows_the_end_of_its_log(start: Started) -> None:
    running = start("for n in range(50): print('line', n)\nraise SystemExit(3)")
    with pytest.raises(StackError, match=r"(?s)sample ended with code 3 while starting.*line 49") as caught:
        running.wait_ready()
    assert "line 29\n" not in str(caught.value)


def test_an_earlier_start_is_not_mistaken_for_this_one(start: Started) -> None:
    with pytest.raises(StackError):
        start("print('old'); raise SystemExit(1)").wait_ready()
    with pytest.raises(StackError) as caught:
        start("print('new'); raise SystemExit(1)").wait_ready()
    assert "new" in str(caught.value)
    assert "old" not in str(caught.value)


def test_a_program_that_is_never_ready_is_an_error(start: Started) -> None:
    with pytest.raises(StackError, match="not ready after 0 s"):
        start(STAY, start_seconds=0.2).wait_ready()


def test_stopping_asks_first(start: Started) -> None:
    running = start(f"import signal; signal.signal(15, lambda *_: exit(7)); {READY}{STAY}")
    running.wait_ready()
    running.stop()
    assert running.exit_code == 7
    assert not (start.home / "run/sample.pid").exists()


def test_stopping_kills_what_does_not_listen_and_its_children(start: Started) -> None:
    code = (
        "import signal, subprocess, sys; signal.signal(15, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open('child', 'w').write(str(child.pid)); {READY}{STAY}"
    )
    running = start(code, stop_seconds=0.2)
    running.wait_ready()
    running.stop()
    assert running.exit_code == -signal.SIGKILL
    assert group_is_gone(running.pid)


def test_a_taken_port_names_the_port_and_the_variable(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = Program("api", (), {}, lambda _: True, port=port, port_variable="ICS_API_PORT")
        with pytest.raises(StackError, match=rf"Port {port}, which api needs, is taken.*ICS_API_PORT="):
            require_free_port(taken)
    require_free_port(taken)
