"""When what was not taken is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.sending.backoff import LONGEST_SECONDS, retry_delay
from tasks.sending.slicing import MOST_SHARDS, MOST_SLICES, shard_count, slice_plan

unit = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 100), unit)
def test_the_wait_grows_and_is_bounded(attempts: int, jitter: float) -> None:
    delay = retry_delay(attempts, None, jitter=jitter)
    assert delay <= retry_delay(attempts + 1, None, jitter=jitter)
    assert 0 < delay <= LONGEST_SECONDS * 1.25


@given(st.integers(1, 100), st.floats(0, 3600), unit)
def test_the_providers_own_word_is_kept(attempts: int, retry_after: float, jitter: float) -> None:
    delay = retry_delay(attempts, retry_after, jitter=jitter)
    assert retry_after <= delay <= retry_after * 1.25 + 1


@given(st.integers(0, 200_000), st.integers(1, 32), st.integers(1, MOST_SHARDS))
def test_an_execution_of_any_size_fits_into_its_task_runs(batches: int, lanes: int, shards: int) -> None:
    plan = slice_plan(batches, lanes=lanes, shards=shards)
    assert 1 <= plan.lanes <= min(lanes, plan.most_slices)
    assert plan.most_slices * shards <= MOST_SLICES
    assert plan.most_slices * shards * plan.batches_per_slice >= batches


@given(st.integers(0, 200_000), st.integers(1, 1000), st.integers(0, 50), st.integers(1, 16))
def test_there_are_no_more_shards_than_work_and_workers(
    batches: int, shard_batches: int, workers: int, per_worker: int
) -> None:
    shards = shard_count(batches, shard_batches=shard_batches, workers=workers, shards_per_worker=per_worker)
    assert 1 <= shards <= MOST_SHARDS
    assert shards <= max(workers, 1) * per_worker
    assert (shards - 1) * shard_batches < max(batches, 1)
