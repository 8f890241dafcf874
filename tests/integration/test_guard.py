"""The guard: it warns once, pauses once, and leaves alone what a person resumed."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.event import listen
from structlog.testing import capture_logs

from db.engine import Database, when_committed
from db.models import Approval, FailedJob, FlowExecution, Message
from db.queries import executions
from db.states import ExecutionState
from settings import get_settings
from tests.builders import add_campaign
from tests.integration.sent_executions import Sent, report, send_all

PAUSED = "the complaint rate is 15 % (3 of 20 accepted), over the limit of 10 %"


@pytest.fixture
def database(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Database:
    for name, value in {
        "GUARD_MESSAGES": "20",
        "COMPLAINT_WARN_PERCENT": "5",
        "COMPLAINT_PAUSE_PERCENT": "10",
        "BOUNCE_PAUSE_PERCENT": "20",
    }.items():
        monkeypatch.setenv(f"ICS_{name}", value)
    get_settings.cache_clear()
    return Database(engine)


@pytest.fixture
def execution(database: Database) -> Sent:
    """Being sent: 20 messages are accepted."""
    return send_all(database, database.run(lambda s: add_campaign(s, clients=20)))


@pytest.fixture
def told() -> Iterator[list[Any]]:
    with capture_logs() as entries:
        yield entries


def look(database: Database, execution: Sent) -> tuple[ExecutionState, str | None, str | None, bool]:
    with database.reading() as s:
        found = s.get_one(FlowExecution, execution.id)
        return found.state, found.reason, found.warning, found.is_guarded


def complain(database: Database, execution: Sent, *places: int) -> None:
    report(database, [execution.event(place, "spamreport", 60) for place in places])


def bounce(database: Database, execution: Sent, kind: str, *places: int) -> None:
    classified = {"type": kind, "bounce_classification": "Content"}
    report(database, [execution.event(place, "bounce", 1, **classified) for place in places])


def guard_logs(told: list[Any]) -> list[tuple[str, int, str]]:
    return [(each["event"], each["execution_id"], each["log_level"]) for each in told if "warning" in each]


def test_complaints_at_the_lower_limit_are_no_matter_and_above_it_a_warning_once(
    database: Database, execution: Sent, told: list[Any]
) -> None:
    complain(database, execution, 0)
    assert look(database, execution) == (ExecutionState.SENDING, None, None, True)
    complain(database, execution, 1)
    warning = "the complaint rate is 10 % (2 of 20 accepted), over the limit of 5 %"
    assert look(database, execution) == (ExecutionState.SENDING, None, warning, True)
    complain(database, execution, 0, 1)
    bounce(database, execution, "blocked", 5)
    assert look(database, execution)[2] == warning
    assert guard_logs(told) == [("execution warned about", execution.id, "warning")]


def test_too_many_complaints_pause_the_execution_with_the_reason(
    database: Database, execution: Sent, told: list[Any]
) -> None:
    complain(database, execution, 0, 1, 2)
    assert look(database, execution) == (ExecutionState.PAUSED, PAUSED, PAUSED, True)
    complain(database, execution, 3)
    assert look(database, execution) == (ExecutionState.PAUSED, PAUSED, PAUSED, True)
    assert guard_logs(told) == [("execution paused by the guard", execution.id, "warning")]
    with database.reading() as s:
        assert s.scalars(select(FailedJob)).all() == []  # Nothing gave up, and nothing is to be retried.


def test_a_warning_becomes_a_pause(database: Database, execution: Sent, told: list[Any]) -> None:
    complain(database, execution, 0, 1)
    complain(database, execution, 2)
    assert look(database, execution) == (ExecutionState.PAUSED, PAUSED, PAUSED, True)
    assert len(guard_logs(told)) == 2


def test_bounces_hard_and_soft_together_pause(database: Database, execution: Sent) -> None:
    bounce(database, execution, "bounce", 0, 1, 2)
    bounce(database, execution, "blocked", 2, 3)
    assert look(database, execution)[0] is ExecutionState.SENDING  # Four messages: whoever did both is one.
    bounce(database, execution, "blocked", 4)
    state, reason, *_ = look(database, execution)
    assert state is ExecutionState.PAUSED
    assert reason == "the bounce rate is 25 % (5 of 20 accepted), over the limit of 20 %"


def test_who_resumes_it_takes_the_guard_off_and_is_remembered(database: Database, execution: Sent) -> None:
    complain(database, execution, 0, 1, 2)
    database.run(lambda s: executions.resume_execution(s, execution.id, by="Ada"))
    complain(database, execution, 3, 4)
    assert look(database, execution) == (ExecutionState.SENDING, None, PAUSED, False)
    with database.reading() as s:
        [kept] = s.scalars(select(Approval)).all()
    assert (kept.action, kept.approved_by, kept.details) == (
        "resume_in_spite_of_guard",
        "Ada",
        {"reason": PAUSED},
    )


def test_who_paused_it_for_another_reason_resumes_it_with_its_guard(
    database: Database, execution: Sent
) -> None:
    complain(database, execution, 0, 1)
    database.run(lambda s: executions.pause_execution(s, execution.id, reason="paused by Ada"))
    database.run(lambda s: executions.resume_execution(s, execution.id, by="Ada"))
    complain(database, execution, 2)
    assert look(database, execution) == (ExecutionState.PAUSED, PAUSED, PAUSED, True)


def test_one_that_is_over_is_only_warned_about(database: Database, execution: Sent) -> None:
    database.run(lambda s: executions.settle_execution(s, execution.id))
    complain(database, execution, 0, 1, 2)
    assert look(database, execution) == (ExecutionState.COMPLETED, None, PAUSED, True)


def test_few_messages_prove_nothing(database: Database) -> None:
    execution = send_all(database, database.run(lambda s: add_campaign(s, clients=19)))
    complain(database, execution, *range(19))
    assert look(database, execution) == (ExecutionState.SENDING, None, None, True)


def test_only_complaints_and_bounces_ask_the_guard(database: Database, execution: Sent) -> None:
    statements: list[str] = []
    listen(database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    def asked() -> int:
        found = sum("is_guarded" in each for each in statements)
        statements.clear()
        return found

    report(database, [execution.event(place, "delivered") for place in range(20)])
    report(database, [execution.event(place, "open", 5) for place in range(20)])
    assert asked() == 0
    complain(database, execution, 0)
    assert asked() == 1
    complain(database, execution, 0)
    assert asked() == 0


def test_what_is_rolled_back_tells_nobody(database: Database) -> None:
    done: list[str] = []
    with database.reading() as s:
        when_committed(s, lambda: done.append("rolled back"))
        s.execute(select(Message.id))
    database.run(lambda s: when_committed(s, lambda: done.append("committed")))
    assert done == ["committed"]
