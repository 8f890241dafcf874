"""The fan-out that a campaign's run and its shards have in common: lanes kept busy with slices."""

from prefect.futures import wait

from settings import get_settings
from tasks.sending.jackets import send_slice
from tasks.sending.progress import Shown
from tasks.sending.slicing import SlicePlan

LANES = get_settings().send_lanes


def send_in_slices(execution_id: int, plan: SlicePlan, show: Shown) -> int:
    """Submit slices until one finds nothing left; returns the batches worked on.

    At most `plan.most_slices` task runs, whatever the size. Should that not be enough (a provider that throttles for
    hours), the dispatcher starts another run.
    """
    running = [send_slice.submit(execution_id, plan.batches_per_slice) for _ in range(plan.lanes)]
    submitted, worked = len(running), 0
    while running:
        done, waiting = wait(running, timeout=show.interval_seconds)
        running = list(waiting)
        for future in done:
            batches = future.result()
            worked += batches
            if batches == plan.batches_per_slice and submitted < plan.most_slices:
                running.append(send_slice.submit(execution_id, plan.batches_per_slice))
                submitted += 1
        show.update()
    return worked
