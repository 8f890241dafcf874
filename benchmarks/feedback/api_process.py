"""One API process, and nothing else of the platform."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx


@contextmanager
def api_process(
    database_url: str, public_key: str, *, core: int | None = None, more: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Its port and its process id; `core`: the only one it may use, where `taskset` is there."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ics-bench-") as home:
        values = {
            **os.environ,
            "ICS_HOME": home,
            "ICS_DATABASE_URL": database_url,
            "ICS_API_PORT": str(port),
            "ICS_LOG_LEVEL": "WARNING",
            "SENDGRID_WEBHOOK_PUBLIC_KEYS": public_key,
            "SENDMODE_WEBHOOK_SECRET": "bench",
            **(more or {}),
        }
        pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
        process = subprocess.Popen([*pin, sys.executable, "-m", "cli", "api"], env=values)
        try:
            _wait_for(port, process)
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the API did not start") from None
            time.sleep(0.1)
        else:
            return
