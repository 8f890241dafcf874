"""Prefect's view of sending: thin jackets around the engine. Parameters and results are ids and counts."""

from datetime import datetime

from prefect import task

from db.engine import get_database
from db.queries import executions
from db.states import Channel, ExecutionState
from settings import get_settings
from tasks.orchestration.shards import ask_for_shards
from tasks.scheduling.occurrences import open_scheduled, open_started
from tasks.sending.configuration import ProviderNotConfigured, require_provider
from tasks.sending.factory import get_engine

RETRY_DELAYS = [1.0, 5.0, 15.0, 30.0]


@task(
    name="open-execution", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False
)
def open_execution(flow_id: int, flow_run_id: str, scheduled_for: datetime | None) -> int | None:
    """The execution of a run that Prefect started by itself; None when there is nothing to send now."""
    database = get_database()
    if scheduled_for is not None:
        return open_scheduled(database, flow_id, scheduled_for, flow_run_id)
    return open_started(database, flow_id, flow_run_id)


@task(name="prepare", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False)
def prepare(execution_id: int) -> ExecutionState:
    """Write the snapshot of the audience and its batches, once, whoever calls it and however often."""
    database, settings = get_database(), get_settings()
    with database.reading() as session:
        channels = {step.channel for step in executions.list_steps(session, execution_id)}
    state = database.run(lambda s: executions.start_execution(s, execution_id))
    try:
        for channel in channels:
            require_provider(settings, channel)
    except ProviderNotConfigured as missing:
        if state is ExecutionState.PREPARING:
            reason = str(missing)
            database.run(lambda s: executions.pause_execution(s, execution_id, reason=reason))
            return ExecutionState.PAUSED
        raise
    sizes = {Channel.EMAIL: settings.email_batch_size, Channel.SMS: settings.sms_batch_size}
    above = settings.approve_above or None
    return database.run(
        lambda s: executions.prepare_execution(s, execution_id, batch_sizes=sizes, approve_above=above)
    )


@task(name="send-slice", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False)
def send_slice(execution_id: int, most_batches: int) -> int:
    """Send up to `most_batches` batches of the execution; returns how many were worked on.

    A retry of this task sends nothing twice: it goes on with what the ledger says is pending.
    """
    return get_engine().run_slice(execution_id, most_batches=most_batches)


@task(name="start-shards", persist_result=False)
def start_shards(execution_id: int, batches: int, flow_run_id: str) -> int:
    """Ask for more runs when the execution is large; returns how many share it, this one included."""
    settings = get_settings()
    if batches <= settings.shard_batches:
        return 1
    return ask_for_shards(execution_id, batches, flow_run_id, settings)


@task(name="settle", retries=len(RETRY_DELAYS), retry_delay_seconds=RETRY_DELAYS, persist_result=False)
def settle(execution_id: int) -> ExecutionState:
    """Close the execution if every message is in a final state."""
    return get_database().run(lambda s: executions.settle_execution(s, execution_id))
