"""The Prefect flow of a shard: one more process, perhaps on another machine, that works on a large execution."""

from prefect import flow, get_run_logger
from prefect.task_runners import ThreadPoolTaskRunner

from flows.slices import LANES, send_in_slices
from tasks.sending import progress
from tasks.sending.slicing import slice_plan


@flow(
    name="send-shard",
    task_runner=ThreadPoolTaskRunner(max_workers=LANES),  # type: ignore[arg-type]
    persist_result=False,
    validate_parameters=True,
)
def send_shard(execution_id: int, shards: int) -> dict[str, int]:
    """Send batches of the execution until none is left; returns how many.

    The batches are shared by claiming them, so a shard may start late, die or run twice: the others do its work.
    The run that started the shards settles the execution.
    """
    plan = slice_plan(progress.count_batches(execution_id), lanes=LANES, shards=shards)
    with progress.heartbeats(execution_id) as show:
        worked = send_in_slices(execution_id, plan, show)
    get_run_logger().info("worked on %s batches of execution %s", worked, execution_id)
    return {"batches": worked}
