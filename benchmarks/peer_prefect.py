"""The peer on Prefect: a flow that maps one task over all recipients.

`python -m benchmarks.peer_prefect SINK_URL RECIPIENTS` runs the flow against the server of `PREFECT_API_URL`; `measure` starts
the server and it. Prefect reads its settings when it is imported, so neither is done in the caller's process.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.peer_work import WARM_UP, OneByOne, open_campaign, row, wait_recorded
from deployments.deploy import PROJECT
from deployments.prefect_environment import client_environment, server_environment
from deployments.program import Program, RunningProgram
from settings import Settings

THREADS = 16
START_SECONDS = 180.0


def measure(database_url: str, sink_url: str, recipients: int) -> dict[str, object]:
    """Messages a second, from the first submit to the last recorded row. The server's start does not count.

    Raises:
        StackError: Prefect's server does not start.
        RuntimeError: the flow failed, or not all messages were recorded.
    """
    with tempfile.TemporaryDirectory(prefix="ics-prefect-", ignore_cleanup_errors=True) as folder:
        settings = _settings(Path(folder))
        server = RunningProgram(_server(settings), home=settings.home, project=PROJECT)
        try:
            server.wait_ready()
            seconds = _run_flow(settings, database_url, sink_url, recipients)
        finally:
            server.stop()
    return row("prefect: one task a recipient", recipients, seconds)


def _settings(home: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return Settings(
        home=home, prefect_port=port, prefect_api_url=f"http://127.0.0.1:{port}/api", _env_file=None
    )


def _server(settings: Settings) -> Program:
    port = str(settings.prefect_port)
    return Program(
        name="prefect",
        command=(sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port),
        environment=server_environment(settings, {}),
        is_ready=lambda _: _answers(settings.prefect_api_url),
        start_seconds=START_SECONDS,
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=1.0, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _run_flow(settings: Settings, database_url: str, sink_url: str, recipients: int) -> float:
    environment = os.environ | client_environment(settings, {}) | {"ICS_DATABASE_URL": database_url}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peer_prefect", sink_url, str(recipients)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the flow failed:\n{done.stderr[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1]))


def _main(sink_url: str, recipients: int) -> None:
    """Print the seconds that the flow took."""
    from prefect import flow, task
    from prefect.futures import wait
    from prefect.task_runners import ThreadPoolTaskRunner

    database_url = os.environ["ICS_DATABASE_URL"]
    work = OneByOne(database_url, sink_url)

    @task(persist_result=False)
    def send_one(message_id: int) -> None:
        work.send(message_id)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=THREADS), persist_result=False)  # type: ignore[arg-type]
    def send_all(message_ids: list[int]) -> float:
        started = time.perf_counter()
        futures = send_one.map(message_ids)
        ended = wait_recorded(database_url, message_ids)
        wait(futures)
        return ended - started

    message_ids = open_campaign(database_url, WARM_UP + recipients)
    send_all(message_ids[:WARM_UP])
    print(json.dumps(send_all(message_ids[WARM_UP:])), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
