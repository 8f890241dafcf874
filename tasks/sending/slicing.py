"""How an execution is cut into task runs of Prefect. Pure."""

from dataclasses import dataclass

MOST_SLICES = 150
FEWEST_BATCHES = 10
MOST_SHARDS = 16


@dataclass(frozen=True)
class SlicePlan:
    """`lanes` slices run at a time, each ends after `batches_per_slice` batches, `most_slices` are submitted in all."""

    lanes: int
    batches_per_slice: int
    most_slices: int


def slice_plan(batches: int, *, lanes: int, shards: int = 1) -> SlicePlan:
    """A plan for one of `shards` runs: together their slices hold all batches twice, for retries and for the share
    of a run that died, and they never make over 150 task runs.

    A task run costs Prefect about 10 ms and burdens its server for longer: slices grow with the execution instead.
    """
    fair = -(-batches // MOST_SLICES) * 2
    per_slice = max(FEWEST_BATCHES, fair)
    return SlicePlan(
        lanes=max(1, min(lanes, -(-batches // shards), MOST_SLICES // shards)),
        batches_per_slice=per_slice,
        most_slices=MOST_SLICES // shards,
    )


def shard_count(batches: int, *, shard_batches: int, workers: int, shards_per_worker: int) -> int:
    """How many runs share an execution: one for each `shard_batches` batches, as far as there are workers for them.

    More processes than that would only wait for each other; fewer would leave machines idle.
    """
    return max(1, min(-(-batches // shard_batches), max(workers, 1) * shards_per_worker, MOST_SHARDS))
