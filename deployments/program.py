"""One program of the local stack: a child process with a log, a pid file and a way to see that it is ready."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from db.errors import IcsError

_POLL_SECONDS: Final = 0.1
_TAIL_LINES: Final = 20


class StackError(IcsError):
    """The local stack cannot run; the message says why and what to do."""


@dataclass(frozen=True)
class Program:
    """What to run. `is_ready` is asked with the pid until it says yes, `start_seconds` long at most."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    is_ready: Callable[[int], bool]
    address: str = ""
    port: int | None = None
    port_variable: str = ""
    start_seconds: float = 60.0
    stop_seconds: float = 10.0


class RunningProgram:
    """A started program. It leads a process group of its own, so a Ctrl-C reaches only who started it."""

    def __init__(self, program: Program, *, home: Path, project: Path) -> None:
        self.program = program
        self.log_path = home / "logs" / f"{program.name}.log"
        self.pid_path = home / "run" / f"{program.name}.pid"
        for path in (self.log_path, self.pid_path):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                program.command,
                cwd=project,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid_path.write_text(f"{self.pid}\n")

    @property
    def pid(self) -> int:
        """Also the id of the process group."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; `None` while it runs."""
        return self._process.poll()

    @property
    def seconds_up(self) -> float:
        """Since it was started."""
        return time.monotonic() - self.started

    def wait_ready(self) -> None:
        """Return as soon as the program can be used.

        Raises:
            StackError: it died, or took too long; the message has the end of its log.
        """
        while not self.program.is_ready(self.pid):
            if self.exit_code is not None:
                raise StackError(
                    f"{self.program.name} ended with code {self.exit_code} while starting.\n{self._end_of_log()}"
                )
            if self.seconds_up > self.program.start_seconds:
                raise StackError(
                    f"{self.program.name} was not ready after {self.program.start_seconds:.0f} s.\n"
                    f"{self._end_of_log()}"
                )
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """SIGTERM and some patience for the program, then SIGKILL for whatever is left of its group."""
        if self.exit_code is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.program.stop_seconds)
        kill_group(self.pid)
        self._process.wait()
        self.pid_path.unlink(missing_ok=True)

    def _end_of_log(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join([f"The end of {self.log_path}:", *(f"  {line}" for line in lines[-_TAIL_LINES:])])


def kill_group(group: int) -> None:
    """SIGKILL to every process of the group that is left."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
