"""The Prefect flow of a campaign: prepare the snapshot, send it in slices, settle what is left.

A large execution is shared with shard runs (`flows/send_shard.py`) on whatever workers there are.
"""

from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from db.states import ExecutionState
from flows.slices import LANES, send_in_slices
from tasks.sending import progress
from tasks.sending.jackets import open_execution, prepare, settle, start_shards
from tasks.sending.slicing import slice_plan


def _run_name() -> str:
    """The name the run was asked for with; one that Prefect started by itself is named after its marketing flow."""
    given = runtime.flow_run.parameters
    if given.get("execution_id") is not None:
        return str(runtime.flow_run.name)
    return f"flow {given.get('flow_id')} · {runtime.flow_run.scheduled_start_time:%Y-%m-%d %H:%M}"


@flow(
    name="send-campaign",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=LANES),  # type: ignore[arg-type]
    persist_result=False,
    validate_parameters=True,
)
def send_campaign(flow_id: int, execution_id: int | None = None) -> State[Any]:
    """Send an execution of the marketing flow, or open one when the run was started from Prefect.

    Safe to run again or twice at once: every decision to send is a row in the ledger, none is here.
    """
    if execution_id is None:
        execution_id = open_execution(flow_id, str(runtime.flow_run.id), _scheduled_for())
    if execution_id is None:
        return Completed(message="This occurrence was handled already, or is not to be sent.", name="Skipped")
    state = prepare(execution_id)
    if state is ExecutionState.SENDING:
        _send(execution_id)
        state = settle(execution_id)
    counts = progress.report(execution_id)
    get_run_logger().info("execution %s is %s: %s", execution_id, state, counts)
    return Completed(message=f"execution {execution_id} is {state}: {counts}", name=state.value.capitalize())


def _send(execution_id: int) -> None:
    batches = progress.count_batches(execution_id)
    shards = start_shards(execution_id, batches, str(runtime.flow_run.id))
    with progress.shown(execution_id) as show:
        send_in_slices(execution_id, slice_plan(batches, lanes=LANES, shards=shards), show)


def _scheduled_for() -> datetime | None:
    """The planned moment of a run that the flow's schedule made; None for one that a person started."""
    is_scheduled = "auto-scheduled" in (runtime.flow_run.tags or [])
    return runtime.flow_run.scheduled_start_time if is_scheduled else None
