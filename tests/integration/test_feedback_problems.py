"""Events that cannot be applied: they hold up no other, are kept with the reason, and are applied later."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, update

from db.engine import Database
from db.models import Event, FlowExecution, Message, WebhookDelivery, WebhookEvent
from db.queries import webhooks
from db.states import InboxState, WebhookEventState, WebhookProblem
from tasks.feedback import apply as applying
from tasks.feedback.apply import apply_deliveries, apply_waiting
from tasks.feedback.forgetting import forget_old
from tasks.feedback.incoming import Incoming
from tasks.feedback.replaying import replay_delivery, replay_due, replay_event, replay_open
from tests.integration.test_feedback import event, sent, store
from tests.integration.test_feedback_meaning import counts_of, several, suppressed


class Odd(Exception):
    """What no code expects."""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """References whose events cannot be applied, by an error deep inside."""
    references: set[str] = set()
    original = applying._row

    def row(each: Incoming) -> Any:
        if each.event.reference in references:
            raise Odd("ann@example.com is in this message")
        return original(each)

    monkeypatch.setattr(applying, "_row", row)
    return references


def kept(database: Database) -> list[WebhookEvent]:
    with database.reading() as s:
        return list(s.scalars(select(WebhookEvent).order_by(WebhookEvent.id)))


def states(database: Database) -> list[InboxState]:
    with database.reading() as s:
        return list(s.scalars(select(WebhookDelivery.state).order_by(WebhookDelivery.id)))


def test_one_event_that_fails_holds_up_none_of_its_post(engine: Engine, broken: set[str]) -> None:
    database = Database(engine)
    [(execution, ids)] = several(database, clients=40, times=1)
    broken.add(f"{execution.uid}-{ids[17]}")
    store(database, [event(execution, each, "delivered") for each in ids])
    store(database, [event(execution, each, "open") for each in ids])
    assert apply_waiting(database) == 2
    counts = counts_of(database, execution).messages
    assert (counts["delivered"], counts["opened"]) == (39, 39)
    found = kept(database)
    assert [(each.kind, each.problem) for each in found] == [
        ("delivered", WebhookProblem.FAILED),
        ("open", WebhookProblem.FAILED),
    ]
    # The type of the error tells what is wrong; its text may name people.
    assert {each.reason for each in found} == {"Odd while applying"}
    assert states(database) == [InboxState.APPLIED] * 2
    broken.clear()
    assert replay_due(database) == 2
    counts = counts_of(database, execution).messages
    assert (counts["delivered"], counts["opened"]) == (40, 40)
    assert [each.state for each in kept(database)] == [WebhookEventState.APPLIED] * 2
    assert replay_due(database) == 0


def test_what_a_failing_event_says_about_its_address_holds_all_the_same(
    engine: Engine, broken: set[str]
) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    broken.add(f"{execution.uid}-{ids[0]}")
    store(database, [event(execution, ids[0], "spamreport")])
    apply_waiting(database)
    assert suppressed(database) == {"client0@example.com": ["spam_report"]}
    assert counts_of(database, execution).messages["complained"] == 0


def test_an_event_that_comes_before_its_message_is_applied_later(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    row = take_out(database, ids[0])
    facts = [event(execution, ids[0], "delivered"), event(execution, ids[0], "open", 5)]
    store(database, facts)
    store(database, facts)
    apply_waiting(database)
    found = kept(database)
    assert [(each.kind, each.problem, each.attempts) for each in found] == [
        ("delivered", WebhookProblem.UNMATCHED, 1),
        ("open", WebhookProblem.UNMATCHED, 1),
    ]
    assert replay_due(database) == 0
    put_back(database, row)
    assert replay_due(database) == 2
    counts = counts_of(database, execution).messages
    assert (counts["delivered"], counts["opened"]) == (1, 1)


def test_a_copy_that_comes_after_the_message_closes_what_was_kept(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    row = take_out(database, ids[0])
    store(database, [event(execution, ids[0], "delivered")])
    apply_waiting(database)
    put_back(database, row)
    store(database, [event(execution, ids[0], "delivered")])
    apply_waiting(database)
    assert [each.state for each in kept(database)] == [WebhookEventState.APPLIED]
    assert counts_of(database, execution).messages["delivered"] == 1


def take_out(database: Database, message_id: int) -> dict[str, Any]:
    """As if it were not recorded yet."""

    def work(session: Any) -> dict[str, Any]:
        table = Message.__table__
        row = dict(session.execute(select(table).where(table.c.id == message_id)).mappings().one())
        session.execute(delete(Message).where(Message.id == message_id))
        return {name: value for name, value in row.items() if name != "special_state"}

    return database.run(work)


def put_back(database: Database, row: dict[str, Any]) -> None:
    database.run(lambda s: s.execute(Message.__table__.insert().values(row)))  # type: ignore[attr-defined]


def test_events_of_another_installation_are_kept_and_touch_nothing(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    foreign = {**event(execution, ids[0], "delivered"), "ics_message": f"aaaaaaaaaaaa-{ids[0]}"}
    store(database, [foreign])
    apply_waiting(database)
    assert counts_of(database, execution).messages["delivered"] == 0
    assert [each.problem for each in kept(database)] == [WebhookProblem.UNMATCHED]


def test_a_wrong_reference_does_not_prove_that_a_pending_message_was_taken(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    database.run(lambda s: s.execute(update(Message).where(Message.id == ids[0]).values(state="pending")))
    store(database, [{**event(execution, ids[0], "delivered"), "ics_message": f"aaaaaaaaaaaa-{ids[0]}"}])
    apply_waiting(database)
    with database.reading() as s:
        assert s.get_one(Message, ids[0]).state.value == "pending"


def test_an_event_is_gone_when_its_webhook_is_forgotten(engine: Engine) -> None:
    from datetime import timedelta

    database = Database(engine)
    execution, ids = sent(database)
    store(database, ["text", event(execution, ids[0], "delivered")])
    store(database, [event(execution, ids[1], "delivered")])
    apply_waiting(database)
    # The one with an open event is kept, however old.
    assert forget_old(database, older_than=timedelta(seconds=-5)) == 1
    [found] = kept(database)
    assert replay_event(database, found.id, by="ada") is WebhookEventState.OPEN
    database.run(lambda s: s.execute(delete(WebhookDelivery)))
    assert replay_event(database, found.id, by="ada") is WebhookEventState.GONE
    assert kept(database)[0].replayed_by == "ada"
    assert replay_open(database, by="ada", after=0, limit=10).next_cursor is None


def test_a_webhook_may_be_applied_again(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    store(
        database,
        [
            event(execution, each, kind, at)
            for each in ids
            for kind, at in (("delivered", 0), ("open", 9), ("click", 99))
        ],
    )
    apply_waiting(database)
    before = counts_of(database, execution)
    with database.reading() as s:
        [delivery_id] = s.scalars(select(WebhookDelivery.id)).all()
    replay_delivery(database, delivery_id, by="ada")
    assert counts_of(database, execution) == before
    with database.reading() as s:
        assert s.scalar(select(func.count()).select_from(Event)) == 12


def test_two_at_once_count_every_event_once(engine: Engine) -> None:
    """Both apply the same webhooks, of the same executions, with copies in several of them."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: no two transactions meet")
    database = Database(engine)
    runs = several(database, clients=60, times=2)
    for number in range(12):
        facts = [
            event(execution, each, kind, at)
            for execution, ids in runs
            for each in ids[number * 4 : number * 4 + 12]
            for kind, at in (("processed", 0), ("delivered", 1), ("open", 30), ("spamreport", 90))
        ]
        store(database, facts)
    with database.reading() as s:
        waiting = webhooks.list_unapplied(s, InboxState.RECEIVED, limit=100, most_bytes=10**9)
    start, errors = threading.Barrier(3), []

    def run(order: list[int]) -> None:
        own = Database(engine)
        start.wait()
        try:
            for each in order:
                apply_deliveries(own, [each])
        except Exception as error:
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=(order,))
        for order in (waiting, waiting[::-1], waiting[6:] + waiting[:6])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert states(database) == [InboxState.APPLIED] * 12
    for execution, _ in runs:
        counts = counts_of(database, execution).messages
        assert (counts["delivered"], counts["opened"], counts["opens"], counts["complained"]) == (
            56,
            56,
            56,
            56,
        )
    assert kept(database) == []


def test_executions_do_not_share_their_events(engine: Engine) -> None:
    database = Database(engine)
    (first, first_ids), (second, _) = several(database, clients=2, times=2)
    store(database, [event(first, each, "open", 7) for each in first_ids])
    apply_waiting(database)
    assert counts_of(database, first).messages["opens"] == 2
    assert counts_of(database, second).messages["opens"] == 0
    with database.reading() as s:
        executions = s.scalars(select(Event.execution_id).distinct()).all()
    assert executions == [first.id]
    assert isinstance(first, FlowExecution)
