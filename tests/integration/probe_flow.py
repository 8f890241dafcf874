"""A Prefect flow for the tests of the worker: says which process it is, then waits to be let go."""

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger


@flow(name="probe")
def probe(pid_file: str, release_file: str = "") -> None:
    get_run_logger().info("the probe runs")
    Path(pid_file).write_text(str(os.getpid()))
    while release_file and not Path(release_file).exists():
        time.sleep(0.05)
