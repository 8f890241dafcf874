"""More runs for a large execution, one for each worker that could help."""

import structlog

from settings import Settings
from tasks.orchestration import prefect_api
from tasks.orchestration.prefect_api import OrchestratorUnavailable
from tasks.sending.slicing import shard_count

log = structlog.get_logger()


def ask_for_shards(execution_id: int, batches: int, flow_run_id: str, settings: Settings) -> int:
    """Ask Prefect for the shards of the run `flow_run_id`; returns how many runs share the execution with it.

    A Prefect that is away costs speed and nothing else: the run then sends alone.
    """
    try:
        shards = shard_count(
            batches,
            shard_batches=settings.shard_batches,
            workers=prefect_api.count_workers(),
            shards_per_worker=settings.shards_per_worker,
        )
        for number in range(2, shards + 1):
            prefect_api.create_shard_run(
                execution_id=execution_id, parent_run_id=flow_run_id, number=number, shards=shards
            )
    except OrchestratorUnavailable as error:
        log.warning("the execution is sent without shards", execution_id=execution_id, error=str(error))
        return 1
    return shards
