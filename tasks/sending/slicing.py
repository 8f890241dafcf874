"""How an execution is cut into task runs of Prefect. Pure."""

from dataclasses import dataclass

MOST_SLICES = 150
FEWEST_BATCHES = 10


@dataclass(frozen=True)
class SlicePlan:
    """`lanes` slices run at a time, each ends after `batches_per_slice` batches, `most_slices` are submitted in all."""

    lanes: int
    batches_per_slice: int
    most_slices: int


def slice_plan(batches: int, *, lanes: int) -> SlicePlan:
    """A plan whose slices hold all batches and some to spare for retries, and that never makes over 150 task runs.

    A task run costs Prefect about 10 ms and burdens its server for longer: slices grow with the execution instead.
    """
    fair = -(-batches // MOST_SLICES) * 2
    per_slice = max(FEWEST_BATCHES, fair)
    return SlicePlan(lanes=max(1, min(lanes, batches)), batches_per_slice=per_slice, most_slices=MOST_SLICES)
