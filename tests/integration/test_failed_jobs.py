"""Failed jobs: what gave up can be tried again, once, by somebody with a name, and the counts still add up."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, select

from db.engine import Database
from db.errors import Conflict, NotFound, StaleToken
from db.models import FailedJob, FlowExecution, Message
from db.queries import dispatching, executions, failed_jobs, imports, ledger
from db.queries.failed_jobs import Retried
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.transitions import ClaimedBatch
from db.states import (
    Channel,
    ExecutionState,
    Feedback,
    ImportState,
    JobKind,
    JobState,
    MessageState,
    RetryEffect,
)
from tests.builders import add_campaign, prepared, resend, to_sending

LEASE = 60


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def start(
    database: Database, *, clients: int = 2, batch_size: int = 2, channel: Channel = Channel.EMAIL
) -> int:
    return database.run(
        lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel), batch_size=batch_size).id
    )


def claim(database: Database, execution_id: int) -> ClaimedBatch:
    batch = database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE))
    assert batch is not None
    return batch


def give_up(database: Database, execution_id: int) -> ClaimedBatch:
    """The next batch of the execution uses up its attempts."""
    batch = claim(database, execution_id)
    database.run(lambda s: ledger.give_up_batch(s, batch, error="always 429"))
    return batch


def settle(database: Database, execution_id: int) -> ExecutionState:
    return database.run(lambda s: executions.settle_execution(s, execution_id))


def retry(database: Database, job_id: int) -> Retried:
    return database.run(lambda s: failed_jobs.retry_job(s, job_id, retried_by="Ada"))


def jobs(database: Database) -> list[FailedJob]:
    with database.reading() as s:
        return list(s.scalars(select(FailedJob).order_by(FailedJob.id)))


def the_job(database: Database) -> FailedJob:
    [job] = jobs(database)
    return job


def get(database: Database, execution_id: int) -> FlowExecution:
    with database.reading() as s:
        return executions.get_execution(s, execution_id)


def states(database: Database, execution_id: int) -> dict[str, int]:
    """Counts per state from the ledger, after checking that stats agree with a recount (I6) and add up (I2)."""
    with database.reading() as s:
        counts, fresh = get_counts(s, execution_id), recount(s, execution_id)
    assert counts == fresh
    per_state = {state.value: counts.messages[state.value] for state in MessageState}
    assert counts.messages["intended"] == sum(per_state.values())
    return {state: count for state, count in per_state.items() if count}


class TestBatch:
    """Kind `send_batch`."""

    def test_it_is_due_again_with_all_its_attempts_and_its_execution_open(self, database: Database) -> None:
        execution_id = start(database)
        old = give_up(database, execution_id)
        assert settle(database, execution_id) is ExecutionState.COMPLETED

        assert retry(database, the_job(database).id).effect is RetryEffect.DISPATCHED

        assert states(database, execution_id) == {"pending": 2}
        execution = get(database, execution_id)
        assert (execution.state, execution.finished_at) == (ExecutionState.SENDING, None)
        with database.reading() as s:
            assert set(s.scalars(select(Message.reason))) == {None}
            waiting = dispatching.list_undispatched(s, limit=10, orphan_seconds=30, grace_seconds=-5)
        assert waiting == [execution_id]
        again = claim(database, execution_id)
        assert (again.id, again.attempts) == (old.id, 1)
        assert again.token > old.token + 1

    def test_only_those_come_back_who_failed_because_the_batch_gave_up(self, database: Database) -> None:
        execution_id = start(database, clients=3, batch_size=3)
        batch = claim(database, execution_id)
        ids = sorted(database.run(lambda s: to_sending(s, batch)))
        database.run(lambda s: ledger.refuse_messages(s, batch, {ids[0]: "refused: bad address"}))
        give_up(database, execution_id)
        assert states(database, execution_id) == {"failed": 3}

        retry(database, the_job(database).id)

        assert states(database, execution_id) == {"failed": 1, "pending": 2}
        with database.reading() as s:
            failed = s.scalars(select(Message).where(Message.state == MessageState.FAILED)).one()
        assert (failed.id, failed.reason) == (ids[0], "refused: bad address")

    def test_a_message_that_the_provider_took_after_all_is_not_sent_again(self, database: Database) -> None:
        """A signed event about it proves that the answer which made the batch give up was wrong."""
        execution_id = start(database, channel=Channel.SMS)
        batch = give_up(database, execution_id)
        database.run(lambda s: apply_feedback(s, {batch.first_message_id: Feedback.DELIVERED}))

        retry(database, the_job(database).id)

        with database.reading() as s:
            pending = s.scalars(select(Message.id).where(Message.state == MessageState.PENDING)).all()
        assert list(pending) == [batch.last_message_id]
        states(database, execution_id)

    def test_an_execution_that_is_sending_needs_no_new_run(self, database: Database) -> None:
        execution_id = start(database, clients=4)
        give_up(database, execution_id)
        assert retry(database, the_job(database).id).effect is RetryEffect.WAITING
        assert states(database, execution_id) == {"pending": 4}
        assert get(database, execution_id).state is ExecutionState.SENDING

    def test_a_paused_execution_stays_paused(self, database: Database) -> None:
        execution_id = start(database)
        give_up(database, execution_id)
        database.run(lambda s: executions.pause_execution(s, execution_id, reason="paused by Bob"))
        assert retry(database, the_job(database).id).effect is RetryEffect.WAITING
        execution = get(database, execution_id)
        assert (execution.state, execution.reason) == (ExecutionState.PAUSED, "paused by Bob")
        assert states(database, execution_id) == {"pending": 2}

    def test_an_execution_that_waits_for_evidence_sends_again_and_settles_again(
        self, database: Database
    ) -> None:
        execution_id = start(database, clients=4)
        give_up(database, execution_id)
        lost = claim(database, execution_id)
        database.run(lambda s: to_sending(s, lost))
        database.run(lambda s: ledger.leave_unknown(s, lost, error="reset"))
        assert settle(database, execution_id) is ExecutionState.SETTLING

        assert retry(database, the_job(database).id).effect is RetryEffect.DISPATCHED

        assert states(database, execution_id) == {"pending": 2, "unknown": 2}
        give_up(database, execution_id)
        assert settle(database, execution_id) is ExecutionState.SETTLING

    def test_a_cancelled_execution_refuses_and_the_job_stays_open(self, database: Database) -> None:
        execution_id = start(database, clients=4)
        give_up(database, execution_id)
        database.run(lambda s: executions.cancel_execution(s, execution_id))
        with pytest.raises(Conflict, match="is cancelled"):
            retry(database, the_job(database).id)
        assert states(database, execution_id) == {"failed": 2, "cancelled": 2}
        assert the_job(database).state is JobState.OPEN

    def test_a_batch_that_gives_up_again_leaves_a_new_job(self, database: Database) -> None:
        execution_id = start(database)
        give_up(database, execution_id)
        retry(database, the_job(database).id)
        give_up(database, execution_id)
        first, second = jobs(database)
        assert (first.state, second.state) == (JobState.RETRIED, JobState.OPEN)
        assert retry(database, second.id).effect is RetryEffect.WAITING

    def test_of_two_retries_at_once_one_wins(self, database: Database) -> None:
        execution_id = start(database)
        give_up(database, execution_id)
        settle(database, execution_id)
        job_id = the_job(database).id
        barrier = threading.Barrier(4)
        outcomes: list[str] = []

        def try_it() -> None:
            barrier.wait()
            try:
                outcomes.append(retry(database, job_id).effect)
            except Conflict:
                outcomes.append("conflict")

        threads = [threading.Thread(target=try_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(outcomes) == ["conflict"] * 3 + ["dispatched"]
        assert states(database, execution_id) == {"pending": 2}

    def test_a_batch_that_was_opened_again_for_its_unknown_messages_gives_back_the_others_too(
        self, database: Database
    ) -> None:
        """An SMS batch may leave some messages unknown before it gives up on the rest."""
        execution_id = start(database, channel=Channel.SMS)
        batch = claim(database, execution_id)
        [lost, _] = sorted(database.run(lambda s: to_sending(s, batch)))
        database.run(
            lambda s: ledger.record_sms(
                s, batch, accepted={}, failed={}, unknown=[lost], retry_delay=0, error="429"
            )
        )
        give_up(database, execution_id)
        database.run(lambda s: resend(s, execution_id))
        assert states(database, execution_id) == {"pending": 1, "failed": 1}
        job_id = the_job(database).id

        again = claim(database, execution_id)
        database.run(lambda s: to_sending(s, again))
        with pytest.raises(Conflict, match="being sent"):
            retry(database, job_id)
        database.run(lambda s: ledger.return_batch(s, again, error="429", delay_seconds=0))
        held = claim(database, execution_id)
        assert retry(database, job_id).effect is RetryEffect.WAITING

        assert states(database, execution_id) == {"pending": 2}
        with pytest.raises(StaleToken):
            database.run(lambda s: to_sending(s, held))
        assert len(database.run(partial(to_sending, batch=claim(database, execution_id)))) == 2
        assert states(database, execution_id) == {"sending": 2}

    def test_a_batch_that_has_nobody_left_to_send_to_is_left_alone(self, database: Database) -> None:
        execution_id = start(database)
        batch = give_up(database, execution_id)
        ids = (batch.first_message_id, batch.last_message_id)
        database.run(lambda s: apply_feedback(s, dict.fromkeys(ids, Feedback.DELIVERED)))
        settle(database, execution_id)
        assert retry(database, the_job(database).id).effect is RetryEffect.NOTHING
        assert get(database, execution_id).state is ExecutionState.COMPLETED


class TestRefusedRequest:
    """Kind `request_refused`."""

    @pytest.fixture
    def refused(self, database: Database) -> int:
        """An execution that a provider's refusal has paused."""
        execution_id = start(database)
        batch = claim(database, execution_id)
        database.run(
            lambda s: executions.pause_with_failed_job(s, execution_id, batch.id, error="401: wrong key")
        )
        return execution_id

    def test_it_resumes_the_execution(self, database: Database, refused: int) -> None:
        assert retry(database, the_job(database).id).effect is RetryEffect.DISPATCHED
        execution = get(database, refused)
        assert (execution.state, execution.reason) == (ExecutionState.SENDING, None)

    def test_it_is_only_closed_when_the_execution_is_not_paused_any_more(
        self, database: Database, refused: int
    ) -> None:
        database.run(lambda s: executions.resume_execution(s, refused))
        assert retry(database, the_job(database).id).effect is RetryEffect.NOTHING
        assert the_job(database).state is JobState.RETRIED

    def test_a_pause_that_a_person_wanted_is_not_lifted(self, database: Database, refused: int) -> None:
        database.run(lambda s: executions.resume_execution(s, refused))
        database.run(lambda s: executions.pause_execution(s, refused, reason="paused by Bob"))
        with pytest.raises(Conflict, match="paused by Bob"):
            retry(database, the_job(database).id)
        assert get(database, refused).state is ExecutionState.PAUSED


class TestImport:
    """Kind `import`."""

    @pytest.fixture
    def failed_import(self, database: Database) -> int:
        import_id = database.run(lambda s: imports.insert_import(s, filename="a.csv", mapping={}).id)
        database.run(lambda s: imports.fail_import(s, import_id, error="the disk was full"))
        return import_id

    def test_it_is_queued_again(self, database: Database, failed_import: int) -> None:
        assert retry(database, the_job(database).id).effect is RetryEffect.DISPATCHED
        with database.reading() as s:
            found = imports.get_import(s, failed_import)
        assert (found.state, found.error) == (ImportState.QUEUED, None)

    def test_one_that_was_tried_again_by_itself_is_left_alone(
        self, database: Database, failed_import: int
    ) -> None:
        database.run(lambda s: imports.requeue_import(s, failed_import))
        assert retry(database, the_job(database).id).effect is RetryEffect.NOTHING


def test_a_retry_keeps_who_and_when_and_is_refused_the_second_time(database: Database) -> None:
    give_up(database, start(database))
    retried = retry(database, the_job(database).id).job
    assert (retried.state, retried.retried_by) == (JobState.RETRIED, "Ada")
    assert retried.retried_at is not None
    assert abs(datetime.now(UTC) - retried.retried_at) < timedelta(minutes=1)
    when = f"{retried.retried_at:%Y-%m-%d %H:%M:%S} UTC, by Ada"
    with pytest.raises(Conflict, match=f"retried already: at {when}"):
        retry(database, retried.id)


def test_a_job_that_is_not_there_or_of_an_unknown_kind_is_refused(database: Database) -> None:
    with pytest.raises(NotFound):
        retry(database, 999)

    def add(s):  # type: ignore[no-untyped-def]
        job = FailedJob(kind="of_old", error="?")
        s.add(job)
        s.flush()
        return job.id

    with pytest.raises(Conflict, match="of_old"):
        retry(database, database.run(add))


def test_open_jobs_are_counted_by_kind_and_execution(database: Database) -> None:
    execution_id = start(database, clients=6)
    for _ in range(3):
        give_up(database, execution_id)
    first = jobs(database)[0].id
    retry(database, first)
    with database.reading() as s:
        assert failed_jobs.count_open(s) == 2
        assert failed_jobs.count_open(s, after=first + 1) == 1
        assert failed_jobs.count_open(s, kind=JobKind.IMPORT) == 0
        assert failed_jobs.count_open(s, kind=JobKind.SEND_BATCH, execution_id=execution_id) == 2
        assert failed_jobs.count_open(s, execution_id=execution_id + 1) == 0
