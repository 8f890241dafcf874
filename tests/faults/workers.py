"""The worker processes of one scenario: started, looked after, killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent.parent


@dataclass
class Worker:
    """One process of `tests.faults.worker`. `started` is time.monotonic."""

    number: int
    process: subprocess.Popen[bytes]
    log: Path
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return " | ".join(lines[-3:])[-400:]


class Workers:
    """All workers of an execution. `reap` is called by one thread, `kill` and `wake` by any."""

    def __init__(self, execution_id: int, environment: Mapping[str, str], logs: Path) -> None:
        self._execution_id = execution_id
        self._environment = environment
        self._logs = logs
        self._count = 0
        self.alive: list[Worker] = []

    def start(self, **more: str) -> Worker:
        """Start one; `more` are variables of its environment."""
        self._count += 1
        log = self._logs / f"execution-{self._execution_id}-worker-{self._count}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", str(self._execution_id)],
                cwd=PROJECT,
                env={**os.environ, **self._environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = Worker(self._count, process, log, time.monotonic())
        self.alive.append(worker)
        return worker

    def reap(self) -> list[Worker]:
        """Those that have ended since the last call."""
        ended = [worker for worker in self.alive if worker.process.poll() is not None]
        self.alive = [worker for worker in self.alive if worker not in ended]
        return ended

    def kill(self, worker: Worker) -> None:
        """SIGKILL; whoever reaps sees it."""
        with suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGKILL)

    def wake(self, worker: Worker) -> None:
        """SIGCONT."""
        with suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGCONT)

    def is_stopped(self, worker: Worker) -> bool:
        """Whether SIGSTOP holds it, as Linux tells."""
        try:
            state = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return state == "T"

    def stop(self) -> None:
        """End whatever still runs."""
        for worker in self.alive:
            self.kill(worker)
        for worker in self.alive:
            worker.process.wait()
        self.alive = []
