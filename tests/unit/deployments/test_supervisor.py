"""The stack's order, revival and end, with small real processes in place of the real programs."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments import supervisor
from deployments.program import Program, StackError
from deployments.supervisor import Stack, programs
from settings import Settings

STAY = "import time\nwhile True: time.sleep(60)"


def settings(home: Path, **more: object) -> Settings:
    return Settings(home=home, **more)  # type: ignore[arg-type]


def sample(name: str, code: str = STAY) -> Program:
    return Program(name, (sys.executable, "-c", code), {}, lambda _: True, stop_seconds=5.0)


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    made = Stack(settings(tmp_path), say=lambda _: None)
    made.programs = {name: sample(name) for name in ("prefect", "sandbox", "api", "worker")}
    monkeypatch.setattr(supervisor, "deploy_all", lambda _: [])
    return made


def until(seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_everything_that_was_started_is_stopped(stack: Stack, tmp_path: Path) -> None:
    with stack:
        stack.wait_ready()
        pids = [stack.pid(name) for name in stack.programs]
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))
    assert list((tmp_path / "run").iterdir()) == []


def test_everything_is_stopped_when_one_does_not_start(stack: Stack) -> None:
    stack.programs["api"] = Program(
        "api", (sys.executable, "-c", "raise SystemExit(1)"), {}, lambda _: False, stop_seconds=5.0
    )
    with pytest.raises(StackError, match="api ended with code 1"), stack:  # noqa: PT012 - the exit is the point
        prefect = stack.pid("prefect")
        stack.wait_ready()
    assert not is_alive(prefect)


def test_sigterm_stops_everything(stack: Stack) -> None:
    with pytest.raises(SystemExit), stack:  # noqa: PT012 - the exit is the point
        stack.wait_ready()
        worker = stack.pid("worker")
        os.kill(os.getpid(), signal.SIGTERM)
    assert not is_alive(worker)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_killed_program_is_started_again(stack: Stack) -> None:
    with stack:
        stack.wait_ready()
        before = stack.pid("worker")
        os.kill(before, signal.SIGKILL)

        until(lambda: stack.pid("worker") != before)
        assert is_alive(stack.pid("worker"))


def test_a_program_that_keeps_dying_is_left_alone_for_longer_each_time(stack: Stack) -> None:
    said: list[str] = []
    stack._say = said.append
    stack.programs["worker"] = sample("worker", "raise SystemExit(1)")

    def revived_twice() -> bool:
        return len([line for line in said if "again" in line]) == 2

    with stack:
        stack.wait_ready()
        until(revived_twice)
        pauses = [stack._pause("worker", stack._running["worker"]) for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30.0


def test_restart_gives_a_new_process(stack: Stack) -> None:
    with stack:
        stack.wait_ready()
        before = stack.pid("worker")
        stack.restart("worker")
        assert stack.pid("worker") != before
        assert not is_alive(before)


def test_prefect_is_left_out_when_another_server_is_named(tmp_path: Path) -> None:
    embedded = programs(settings(tmp_path), sandbox=True, environment={})
    remote = programs(
        settings(tmp_path, prefect_api_url="https://prefect.example/api"), sandbox=False, environment={}
    )
    assert list(embedded) == ["prefect", "sandbox", "api", "worker"]
    assert list(remote) == ["api", "worker"]


def test_prefect_listens_on_this_machine_alone(tmp_path: Path) -> None:
    command = programs(settings(tmp_path), sandbox=False, environment={})["prefect"].command
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_extra_environment_reaches_every_program(tmp_path: Path) -> None:
    found = programs(
        settings(tmp_path), sandbox=True, environment={"SENDGRID_BASE_URL": "http://127.0.0.1:8025"}
    )
    assert {each.environment["SENDGRID_BASE_URL"] for each in found.values()} == {"http://127.0.0.1:8025"}
