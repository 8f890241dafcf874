"""Schedules: each occurrence makes one execution, whoever comes first; a missed one follows the flow's policy."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from db.engine import Database, Session
from db.errors import Conflict
from db.models import AuditEntry, FlowExecution, FlowSchedule
from db.queries import executions, schedules
from db.queries.flows import set_flow_state
from db.states import ExecutionState, FlowState, MissedPolicy, ScheduleKind
from tasks.scheduling.occurrences import open_due, open_scheduled, open_started
from tests.builders import add_campaign

RUN = "00000000-0000-0000-0000-000000000001"


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def scheduled(database: Database, due_at: datetime, policy: MissedPolicy = MissedPolicy.SEND) -> int:
    """A flow that is sent every day at nine in Dublin, next at `due_at`."""

    def make(s: Session) -> int:
        flow = add_campaign(s, clients=1).flow
        values = {
            "kind": ScheduleKind.CRON,
            "expression": "0 9 * * *",
            "time_zone": "Europe/Dublin",
            "missed_policy": policy,
            "next_run_at": due_at,
        }
        schedules.upsert_schedule(s, flow.id, values)
        return flow.id

    return database.run(make)


def schedule_of(database: Database, flow_id: int) -> FlowSchedule:
    with database.reading() as s:
        return schedules.get_schedule(s, flow_id)


def state_of(database: Database, execution_id: int) -> ExecutionState:
    with database.reading() as s:
        return executions.get_execution(s, execution_id).state


def count(database: Database) -> int:
    with database.reading() as s:
        return s.scalar(select(func.count()).select_from(FlowExecution)) or 0


def just_now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2)


def long_ago() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)


def test_prefects_run_and_the_dispatcher_open_one_execution_between_them(database: Database) -> None:
    due_at = just_now()
    flow_id = scheduled(database, due_at)
    assert open_scheduled(database, flow_id, due_at, RUN) is not None
    assert open_due(database) == []
    assert open_scheduled(database, flow_id, due_at, RUN) is None
    assert count(database) == 1
    following = schedule_of(database, flow_id).next_run_at
    assert following is not None
    assert following > datetime.now(UTC)


def test_a_moment_that_is_not_the_schedules_own_opens_nothing(database: Database) -> None:
    """Prefect's calendar may differ from ours, over a clock change for example: only ours counts."""
    due_at = just_now()
    flow_id = scheduled(database, due_at)
    assert open_scheduled(database, flow_id, due_at - timedelta(hours=1), RUN) is None
    assert count(database) == 0


def test_a_missed_send_is_sent_late_by_default(database: Database) -> None:
    scheduled(database, long_ago())
    [execution_id] = open_due(database)
    assert state_of(database, execution_id) is ExecutionState.QUEUED


def test_a_missed_send_may_be_skipped(database: Database) -> None:
    due_at = long_ago()
    flow_id = scheduled(database, due_at, MissedPolicy.SKIP)
    assert open_due(database) == []
    assert count(database) == 0
    assert schedule_of(database, flow_id).last_skipped_at == due_at


def test_a_missed_send_may_wait_for_a_person(database: Database) -> None:
    scheduled(database, long_ago(), MissedPolicy.ASK)
    assert open_due(database) == []
    with database.reading() as s:
        held = s.scalars(select(FlowExecution)).one()
    assert held.state is ExecutionState.HELD
    database.run(lambda s: executions.resume_execution(s, held.id))
    assert state_of(database, held.id) is ExecutionState.QUEUED


def test_days_of_outage_are_one_decision(database: Database) -> None:
    scheduled(database, datetime.now(UTC).replace(microsecond=0) - timedelta(days=9))
    assert len(open_due(database)) == 1
    assert open_due(database) == []


def test_a_flow_that_is_not_active_is_not_sent(database: Database) -> None:
    flow_id = scheduled(database, just_now())
    database.run(lambda s: set_flow_state(s, flow_id, FlowState.ARCHIVED))
    assert open_due(database) == []
    with pytest.raises(Conflict):
        open_started(database, flow_id, RUN)


def test_a_run_started_in_prefect_opens_one_execution_however_often_it_is_tried(database: Database) -> None:
    flow_id = scheduled(database, just_now())
    first = open_started(database, flow_id, RUN)
    assert open_started(database, flow_id, RUN) == first
    with database.reading() as s:
        (kept,) = s.scalars(select(AuditEntry)).all()
    assert (kept.who, kept.action, kept.subject) == (
        "Prefect",
        "flows:send",
        {"flow_id": flow_id, "execution_id": first},
    )
    assert count(database) == 1
