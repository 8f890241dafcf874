"""The peer on Celery and Redis: one task per recipient, two worker processes.

`python -m benchmarks.peer_celery` is the worker; `measure` starts it. Celery is there in benchmarks only
(`benchmarks/requirements.txt`), so it is imported where it is used.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peer_work import WARM_UP, OneByOne, PeerMissing, open_campaign, row, wait_recorded
from benchmarks.redis_server import redis_server
from deployments.deploy import PROJECT
from deployments.program import Program, RunningProgram

PROCESSES = 2
_TASK = "send-one"


def measure(database_url: str, sink_url: str, recipients: int) -> dict[str, object]:
    """Messages a second, from the first submit to the last recorded row. The starts of Redis and the worker do not count.

    Raises:
        PeerMissing: Celery is not installed, or there is no Redis to be had.
        TimeoutError: not all messages were recorded.
    """
    _require_celery()
    with redis_server() as socket_path:
        app = _make_app(f"redis+socket://{socket_path}")
        message_ids = open_campaign(database_url, WARM_UP + recipients)
        warm, timed = message_ids[:WARM_UP], message_ids[WARM_UP:]
        with _worker(app.conf.broker_url, database_url, sink_url):
            for message_id in warm:
                app.send_task(_TASK, (message_id,))
            wait_recorded(database_url, warm)
            started = time.perf_counter()
            for message_id in timed:
                app.send_task(_TASK, (message_id,))
            ended = wait_recorded(database_url, timed)
        app.close()
    return row("celery: one task a recipient", recipients, ended - started)


def _require_celery() -> None:
    if find_spec("celery") is None:
        raise PeerMissing("Celery is not installed")


def _make_app(broker: str) -> Any:
    from celery import Celery

    return Celery("peer", broker=broker, task_ignore_result=True, broker_connection_retry_on_startup=True)


@lru_cache
def _work() -> OneByOne:
    """Of this worker process: made after the fork, since connections cannot be shared."""
    return OneByOne(os.environ["ICS_DATABASE_URL"], os.environ["ICS_BENCH_SINK_URL"])


def _send_one(message_id: int) -> None:
    _work().send(message_id)


def _serve() -> None:
    app = _make_app(os.environ["ICS_BENCH_BROKER_URL"])
    app.task(name=_TASK)(_send_one)
    app.worker_main(["worker", "--pool=prefork", f"--concurrency={PROCESSES}", "--loglevel=warning"])


@contextmanager
def _worker(broker: str, database_url: str, sink_url: str) -> Iterator[None]:
    """A worker that exists for the block; it is ready once it has done the first tasks."""
    environment = {
        "ICS_BENCH_BROKER_URL": broker,
        "ICS_BENCH_SINK_URL": sink_url,
        "ICS_DATABASE_URL": database_url,
    }
    command = (sys.executable, "-m", "benchmarks.peer_celery")
    program = Program("celery", command, environment, is_ready=lambda _: True)
    with tempfile.TemporaryDirectory(prefix="ics-celery-") as folder:
        running = RunningProgram(program, home=Path(folder), project=PROJECT)
        try:
            yield
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{running.log_path.read_text(errors='replace')[-2000:]}") from late
        finally:
            running.stop()


if __name__ == "__main__":
    _serve()
