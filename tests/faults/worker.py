"""`python -m tests.faults.worker EXECUTION_ID`: what a campaign's flow run does, in a light process made to be killed.

Prepare, lanes of `run_slice`, settle, by the product's own engine and from the same settings, but without Prefect,
whose import takes longer than a whole scenario. It may be started as often and as many times at once as one likes.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import structlog
import time_machine

from db.engine import Database, DatabaseError, get_database
from db.queries import executions
from db.states import Channel, ExecutionState
from settings import Settings, get_settings
from tasks.logs import configure_logs
from tasks.sending.factory import get_engine
from tests.faults import hooks, sabotage

# Of the tasks of Prefect around the same calls, shortened: a scenario has no half minute to wait.
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 2.0, 2.0, 2.0)
T = TypeVar("T")
log = structlog.get_logger()


def main() -> int:
    """Returns 0 when nothing is left to do, 1 when a lane gave up."""
    execution_id = int(sys.argv[1])
    if shift := float(os.environ.get(hooks.CLOCK) or 0):
        time_machine.travel(datetime.now(UTC) + timedelta(seconds=shift), tick=True).start()
    settings = get_settings()
    configure_logs(settings.log_level)
    path = os.environ.get(hooks.COMMITS)
    hooks.install(hooks.triggers_of(os.environ), hooks.CommitLog(Path(path)) if path else None)
    if way := os.environ.get(sabotage.VARIABLE):
        sabotage.commit(sabotage.Sabotage(way))
    return work(get_database(), settings, execution_id)


def work(database: Database, settings: Settings, execution_id: int) -> int:
    state = patiently(lambda: prepare(database, settings, execution_id))
    if state is ExecutionState.SENDING:
        if not run_lanes(execution_id, settings.send_lanes):
            return 1
        patiently(lambda: database.run(lambda s: executions.settle_execution(s, execution_id)))
    return 0


def prepare(database: Database, settings: Settings, execution_id: int) -> ExecutionState:
    """As `tasks.sending.jackets.prepare`, which cannot be imported without Prefect."""
    sizes = {Channel.EMAIL: settings.email_batch_size, Channel.SMS: settings.sms_batch_size}
    database.run(lambda s: executions.start_execution(s, execution_id))
    return database.run(lambda s: executions.prepare_execution(s, execution_id, batch_sizes=sizes))


def run_lanes(execution_id: int, count: int) -> bool:
    """Send until nothing is left; False when a lane gave up."""
    done: list[int] = []

    def lane() -> None:
        done.append(patiently(lambda: get_engine().run_slice(execution_id, most_batches=100_000)))

    get_engine()
    lanes = [threading.Thread(target=lane) for _ in range(count)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    return len(done) == count


def patiently(action: Callable[[], T]) -> T:
    """Try again when the database fails, as the retries of Prefect's tasks do."""
    for pause in RETRY_SECONDS:
        try:
            return action()
        except DatabaseError as error:
            log.warning("tried again", seconds=pause, error=str(error.orig))
            time.sleep(pause)
    return action()


if __name__ == "__main__":
    raise SystemExit(main())
