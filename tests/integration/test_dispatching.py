"""The dispatcher: it asks again for runs that died, and gives up on what no run brings any further."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine, select, update

from db.dialect import utc_in
from db.engine import Database, Session
from db.models import BulkOperation, FailedJob, FlowExecution, MemberImport, Stats
from db.queries import bulk, dispatching, executions, failed_jobs, imports, ledger
from db.queries.bulk_changes import Change
from db.queries.import_writing import CleanRows, advance_import
from db.states import BulkAction, BulkState, Channel, ExecutionState, ImportState, JobState, RetryEffect
from settings import get_settings
from tasks.orchestration import prefect_api, sweep
from tasks.orchestration.prefect_api import OrchestratorUnavailable, RunState
from tests.builders import add_campaign, add_clients, prepared

MOST_RUNS = 3


class FakePrefect:
    """Takes every run, and lets each end in `run_state` without having done anything."""

    def __init__(self) -> None:
        self.runs = 0
        self.is_away = False
        self.run_state = RunState.CRASHED

    def create_run(self, **_: object) -> str:
        if self.is_away:
            raise OrchestratorUnavailable("away")
        self.runs += 1
        return f"run-{self.runs}"


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> FakePrefect:
    fake = FakePrefect()
    monkeypatch.setattr(prefect_api, "create_execution_run", fake.create_run)
    monkeypatch.setattr(prefect_api, "create_import_run", fake.create_run)
    monkeypatch.setattr(prefect_api, "create_bulk_run", fake.create_run)
    monkeypatch.setattr(sweep, "run_state", lambda run_id: fake.run_state)
    return fake


@pytest.fixture
def database(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setenv("ICS_MAX_RUN_ATTEMPTS", str(MOST_RUNS))
    get_settings.cache_clear()
    return Database(engine)


@pytest.fixture
def later(database: Database, prefect: FakePrefect) -> Callable[[], int]:
    """The dispatcher looks again, when every run has been silent for long; returns how many runs it asked for."""

    def look() -> int:
        def age(s: Session) -> None:
            for model in (FlowExecution, MemberImport, BulkOperation):
                s.execute(update(model).values(heartbeat_at=None))
                s.execute(
                    update(model).where(model.dispatched_at.is_not(None)).values(dispatched_at=utc_in(-1000))
                )
                s.execute(update(model).values(updated_at=utc_in(-1000)))

        database.run(age)
        return sweep.dispatch_all(database)

    return look


Later = Callable[[], int]


def queued(database: Database) -> int:
    return database.run(lambda s: executions.insert_execution(s, add_campaign(s, clients=2).flow).id)


def sending(database: Database) -> int:
    return database.run(lambda s: prepared(s, add_campaign(s, clients=4), batch_size=2).id)


def get(database: Database, execution_id: int) -> FlowExecution:
    with database.reading() as s:
        return executions.get_execution(s, execution_id)


def jobs(database: Database) -> list[FailedJob]:
    with database.reading() as s:
        return list(s.scalars(select(FailedJob).order_by(FailedJob.id)))


def retry(database: Database, job: FailedJob) -> RetryEffect:
    return database.run(lambda s: failed_jobs.retry_job(s, job.id, retried_by="Ada")).effect


def pending(database: Database, execution_id: int) -> int:
    with database.reading() as s:
        return s.get_one(Stats, execution_id).pending


class TestExecutions:
    def test_one_that_is_never_prepared_fails_and_is_queued_by_a_retry(
        self, database: Database, later: Later
    ) -> None:
        execution_id = queued(database)
        database.run(lambda s: executions.start_execution(s, execution_id))
        assert [later() for _ in range(MOST_RUNS + 2)] == [1, 1, 1, 0, 0]
        execution = get(database, execution_id)
        assert (execution.state, execution.attempt) == (ExecutionState.FAILED, MOST_RUNS)
        assert execution.finished_at is not None
        [job] = jobs(database)
        assert (job.kind, job.execution_id, job.error) == ("execution", execution_id, execution.reason)
        assert job.subject == {"execution_id": execution_id, "flow_run_id": f"run-{MOST_RUNS}"}
        assert job.error.startswith("3 runs in a row ended before they made the snapshot")

        assert retry(database, job) is RetryEffect.DISPATCHED
        execution = get(database, execution_id)
        assert (execution.state, execution.reason, execution.finished_at) == (
            ExecutionState.QUEUED,
            None,
            None,
        )
        assert later() == 1
        # Prefect gives the old run for a number it has seen.
        assert get(database, execution_id).attempt == MOST_RUNS + 1

    def test_one_with_people_waiting_is_paused_and_goes_on_by_a_retry(
        self, database: Database, later: Later
    ) -> None:
        execution_id = sending(database)
        assert [later() for _ in range(MOST_RUNS + 2)] == [1, 1, 1, 0, 0]
        execution = get(database, execution_id)
        assert execution.state is ExecutionState.PAUSED
        assert pending(database, execution_id) == 4
        [job] = jobs(database)
        assert (job.kind, job.error) == ("execution", execution.reason)

        assert retry(database, job) is RetryEffect.DISPATCHED
        assert get(database, execution_id).state is ExecutionState.SENDING
        assert [later() for _ in range(MOST_RUNS + 1)] == [1, 1, 1, 0]
        assert [job.state for job in jobs(database)] == [JobState.RETRIED, JobState.OPEN]

    def test_one_that_was_resumed_or_cancelled_meanwhile_only_closes_the_job(
        self, database: Database, later: Later
    ) -> None:
        first, second = sending(database), database.run(another)
        for _ in range(MOST_RUNS + 1):
            later()
        database.run(lambda s: executions.resume_execution(s, first))
        database.run(lambda s: executions.cancel_execution(s, second))
        assert [retry(database, job) for job in jobs(database)] == [RetryEffect.NOTHING] * 2

    def test_a_batch_that_is_claimed_renews_the_patience(self, database: Database, later: Later) -> None:
        execution_id = sending(database)
        for _ in range(MOST_RUNS):
            later()
        assert database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=60)) is not None
        assert [later() for _ in range(MOST_RUNS + 1)] == [1, 1, 1, 0]

    def test_a_snapshot_renews_the_patience(self, database: Database, later: Later) -> None:
        execution_id = queued(database)
        for _ in range(MOST_RUNS):
            later()
        sizes = dict.fromkeys(Channel, 2)
        database.run(lambda s: executions.prepare_execution(s, execution_id, batch_sizes=sizes))
        assert [later() for _ in range(MOST_RUNS + 1)] == [1, 1, 1, 0]
        assert get(database, execution_id).state is ExecutionState.PAUSED

    def test_progress_between_the_look_and_the_end_is_seen(self, database: Database, later: Later) -> None:
        execution_id = sending(database)
        for _ in range(MOST_RUNS):
            later()
        database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=60))
        assert not database.run(lambda s: executions.give_up_execution(s, execution_id, most_runs=MOST_RUNS))
        assert jobs(database) == []

    def test_runs_that_prefect_did_not_take_do_not_count(
        self, database: Database, prefect: FakePrefect, later: Later
    ) -> None:
        execution_id = queued(database)
        prefect.is_away = True
        assert [later() for _ in range(MOST_RUNS + 2)] == [0] * (MOST_RUNS + 2)
        assert get(database, execution_id).state is ExecutionState.QUEUED
        prefect.is_away = False
        assert later() == 1

    @pytest.mark.parametrize("state", [RunState.SCHEDULED, RunState.PENDING])
    def test_a_run_that_waits_for_a_worker_is_waited_for(
        self, database: Database, prefect: FakePrefect, later: Later, state: RunState
    ) -> None:
        execution_id = queued(database)
        import_id = an_import(database)
        assert later() == 2
        prefect.run_state = state
        assert [later() for _ in range(MOST_RUNS + 2)] == [0] * (MOST_RUNS + 2)
        assert get(database, execution_id).state is ExecutionState.QUEUED
        with database.reading() as s:
            assert imports.get_import(s, import_id).state is ImportState.QUEUED

    def test_a_run_that_prefect_started_by_itself_counts(self, database: Database) -> None:
        execution_id = queued(database)
        database.run(lambda s: dispatching.claim_dispatch(s, execution_id, "run"))
        assert get(database, execution_id).idle_runs == 1


class TestImports:
    def test_one_that_ends_every_run_fails_and_is_queued_by_a_retry(
        self, database: Database, later: Later
    ) -> None:
        import_id = an_import(database)
        database.run(lambda s: imports.start_import(s, import_id))
        assert [later() for _ in range(MOST_RUNS + 2)] == [1, 1, 1, 0, 0]
        with database.reading() as s:
            found = imports.get_import(s, import_id)
        assert found.state is ImportState.FAILED
        [job] = jobs(database)
        assert (job.kind, job.subject, job.error) == ("import", {"import_id": import_id}, found.error)

        assert retry(database, job) is RetryEffect.DISPATCHED
        assert later() == 1
        with database.reading() as s:
            found = imports.get_import(s, import_id)
        assert (found.state, found.attempt, found.idle_runs) == (ImportState.QUEUED, MOST_RUNS + 1, 1)

    def test_a_chunk_that_is_committed_renews_the_patience(self, database: Database, later: Later) -> None:
        import_id = an_import(database)
        database.run(lambda s: imports.start_import(s, import_id))
        for _ in range(MOST_RUNS):
            later()
        database.run(lambda s: advance_import(s, import_id, CleanRows(0, 1, [])))
        assert [later() for _ in range(MOST_RUNS + 1)] == [1, 1, 1, 0]

    def test_one_that_ended_between_the_look_and_the_end_is_left_alone(
        self, database: Database, later: Later
    ) -> None:
        import_id = an_import(database)
        for _ in range(MOST_RUNS):
            later()
        database.run(lambda s: imports.fail_import(s, import_id, error="the disk was full"))
        assert not database.run(lambda s: imports.give_up_import(s, import_id, most_runs=MOST_RUNS))
        assert [job.error for job in jobs(database)] == ["the disk was full"]


class TestBulkOperations:
    def test_one_that_ends_every_run_fails_and_is_queued_by_a_retry(
        self, database: Database, later: Later
    ) -> None:
        operation_id = an_operation(database)
        database.run(lambda s: bulk.start_operation(s, operation_id))
        assert [later() for _ in range(MOST_RUNS + 2)] == [1, 1, 1, 0, 0]
        with database.reading() as s:
            found = bulk.get_operation(s, operation_id)
        assert found.state is BulkState.FAILED
        [job] = jobs(database)
        assert (job.kind, job.subject) == ("bulk_operation", {"bulk_operation_id": operation_id})
        assert retry(database, job) is RetryEffect.DISPATCHED
        assert later() == 1

    def test_a_piece_that_is_committed_renews_the_patience(self, database: Database, later: Later) -> None:
        operation_id = an_operation(database)
        database.run(lambda s: bulk.start_operation(s, operation_id))
        for _ in range(MOST_RUNS):
            later()
        database.run(lambda s: bulk.advance_operation(s, operation_id, after=0, piece=1))
        assert [later() for _ in range(MOST_RUNS + 1)] == [1, 1, 1, 0]

    def test_runs_that_prefect_did_not_take_do_not_count(
        self, database: Database, prefect: FakePrefect, later: Later
    ) -> None:
        operation_id = an_operation(database)
        prefect.is_away = True
        assert [later() for _ in range(MOST_RUNS + 2)] == [0] * (MOST_RUNS + 2)
        with database.reading() as s:
            assert bulk.get_operation(s, operation_id).state is BulkState.QUEUED


def an_operation(database: Database) -> int:
    def work(s: Session) -> int:
        add_clients(s, 3)
        asked = bulk.Asked(Change(BulkAction.ADD_TAGS, tags=["x"]), created_by="Ada")
        return bulk.insert_operation(s, asked, matched_count=3).id

    return database.run(work)


def an_import(database: Database) -> int:
    return database.run(lambda s: imports.insert_import(s, filename="a.csv", mapping={}).id)


def another(s: Session) -> int:
    return prepared(s, add_campaign(s, name="Other"), batch_size=2).id
