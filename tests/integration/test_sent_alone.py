"""Recipients whose personal values are too many for a request with others: each gets one of its own."""

import threading
from functools import partial
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engine import Database
from db.errors import StaleToken
from db.models import Batch, Client, FlowExecution, Message
from db.queries import executions, ledger, transitions
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.splitting import split_batch
from db.queries.stats import get_counts
from db.queries.transitions import ClaimedBatch
from db.states import BatchState, Channel, ExecutionState, Feedback, MessageState
from tasks.providers.outcomes import RequestRefused
from tasks.sending.engine import SendEngine
from tests.builders import add_campaign, prepared, to_sending
from tests.integration.conftest import Sandbox

STORY = "Once upon a time. " * 600  # 10,800 bytes


@pytest.fixture
def database(send_engine: SendEngine) -> Database:
    return send_engine.database


def start(database: Database, *, clients: int, large: set[int], batch_size: int = 4) -> FlowExecution:
    """An execution in which the clients `large`, counted from 0, have a long story."""

    def given(s: Any) -> FlowExecution:
        campaign = add_campaign(s, clients=clients, text="{{ client.first_name }}: {{ client.custom.story }}")
        campaign.version.html = (
            "<p>{{ client.first_name }}</p>{{ client.custom.story }}{{ unsubscribe_url }} -0-"
        )
        for number in range(clients):
            custom = {"story": f"{STORY} {number}" if number in large else "short"}
            s.execute(
                update(Client)
                .where(Client.email == f"client{number}@example.com")
                .values(custom_fields=custom)
            )
        return prepared(s, campaign, batch_size=batch_size)

    return database.run(given)


def run(send_engine: SendEngine, execution: FlowExecution) -> ExecutionState:
    send_engine.run_slice(execution.id, most_batches=100)
    return send_engine.database.run(lambda s: executions.settle_execution(s, execution.id))


def counts(database: Database, execution: FlowExecution) -> dict[str, int]:
    """Counts per state, after checking that stats equal a recount (I6) and that they add up (I2)."""
    with database.reading() as s:
        stats, fresh = get_counts(s, execution.id), recount(s, execution.id)
    assert stats == fresh
    states = {state.value: stats.messages[state.value] for state in MessageState}
    assert sum(states.values()) == stats.messages["intended"]
    return {name: count for name, count in states.items() if count}


def batches(database: Database) -> list[Batch]:
    with database.reading() as s:
        return list(s.scalars(select(Batch).order_by(Batch.first_message_id)))


def claim(database: Database, execution: FlowExecution) -> ClaimedBatch:
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    return batch


@pytest.mark.parametrize("large", [{0}, {3}, {1, 2}, {0, 3, 4, 9}, set(range(10))])
def test_everybody_gets_exactly_one_email_with_the_right_content(
    send_engine: SendEngine, sandbox: Sandbox, database: Database, large: set[int]
) -> None:
    execution = start(database, clients=10, large=large)
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(database, execution) == {"accepted": 10}
    journal = sandbox.journal(execution.uid)
    assert (journal["accepted"], journal["distinct"], journal["duplicates"]) == (10, 10, 0)
    entries = sandbox.entries(execution.uid)
    with database.reading() as s:
        numbers = {
            f"{execution.uid}-{key}": int(address.removeprefix("client").partition("@")[0])
            for key, address in s.execute(select(Message.id, Message.address)).tuples()
            if address
        }
    by_request: dict[str, list[int]] = {}
    for entry in entries:
        number = numbers[entry["reference"]]
        by_request.setdefault(entry["request_id"], []).append(number)
        story = f"{STORY} {number}" if number in large else "short"
        content = sandbox.message(entry["reference"])
        assert content["subject"] == f"Hello Client{number}"
        assert content["text"].startswith(f"Client{number}: {story}")
        assert content["html"].startswith(f"<p>Client{number}</p>{story}")
        assert f"/unsubscribe/{entry['reference']}." in content["html"]
    assert all(len(together) == 1 or not large.intersection(together) for together in by_request.values())


def test_batches_that_were_cut_join_without_a_gap_and_keep_their_attempts(database: Database) -> None:
    execution = start(database, clients=4, large=set())
    first = claim(database, execution)
    database.run(lambda s: to_sending(s, first))
    database.run(lambda s: ledger.return_batch(s, first, error="429", delay_seconds=0))
    batch = claim(database, execution)
    ids = list(range(batch.first_message_id, batch.last_message_id + 1))

    assert database.run(lambda s: split_batch(s, batch, {ids[1]})) == 3
    rows = batches(database)
    assert [(row.first_message_id, row.last_message_id, row.size) for row in rows] == [
        (ids[0], ids[0], 1),
        (ids[1], ids[1], 1),
        (ids[2], ids[3], 2),
    ]
    assert {(row.state, row.attempts) for row in rows} == {(BatchState.PENDING, 1)}
    assert counts(database, execution) == {"pending": 4}


def test_only_who_holds_the_batch_may_cut_it(database: Database) -> None:
    execution = start(database, clients=4, large=set())
    batch = claim(database, execution)
    database.run(lambda s: s.execute(update(Batch).values(token=Batch.token + 1)))
    with pytest.raises(StaleToken):
        database.run(lambda s: split_batch(s, batch, {batch.first_message_id}))
    assert len(batches(database)) == 1


def test_a_batch_that_was_cut_is_not_cut_or_sent_by_its_old_holder(database: Database) -> None:
    execution = start(database, clients=4, large=set())
    batch = claim(database, execution)
    database.run(lambda s: split_batch(s, batch, {batch.first_message_id}))
    for write in (lambda s: split_batch(s, batch, {batch.last_message_id}), lambda s: to_sending(s, batch)):
        with pytest.raises(StaleToken):
            database.run(write)
    assert len(batches(database)) == 2


def test_several_lanes_cut_and_send_without_a_duplicate(
    send_engine: SendEngine, sandbox: Sandbox, database: Database
) -> None:
    execution = start(database, clients=30, large=set(range(0, 30, 7)), batch_size=10)
    send = partial(send_engine.run_slice, execution.id, most_batches=100)
    lanes = [threading.Thread(target=send) for _ in range(4)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(database, execution) == {"accepted": 30}
    journal = sandbox.journal(execution.uid)
    assert (journal["accepted"], journal["duplicates"]) == (30, 0)


def test_an_uncertain_answer_leaves_only_the_one_who_was_alone_unknown(
    send_engine: SendEngine, sandbox: Sandbox, database: Database
) -> None:
    execution = start(database, clients=4, large={0, 1, 2, 3})
    sandbox.fail("sendgrid", "reset_after_accept")
    assert run(send_engine, execution) is ExecutionState.SETTLING
    assert counts(database, execution) == {"accepted": 3, "unknown": 1}
    assert sandbox.journal(execution.uid)["duplicates"] == 0


def test_who_is_too_large_even_alone_fails_alone_with_the_providers_reason(
    send_engine: SendEngine, sandbox: Sandbox, database: Database
) -> None:
    execution = start(database, clients=4, large={2})
    messenger = send_engine.senders[Channel.EMAIL]._messenger  # type: ignore[attr-defined]
    post = messenger.send

    def refusing(body: bytes) -> Any:
        return RequestRefused("413: Request Entity Too Large", 413) if STORY.encode() in body else post(body)

    messenger.send = refusing
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(database, execution) == {"accepted": 3, "failed": 1}
    with database.reading() as s:
        reason = s.scalars(select(Message.reason).where(Message.state == MessageState.FAILED)).one()
    assert reason == "too_large: 413: Request Entity Too Large"


def test_evidence_about_a_batch_that_is_cut_and_sent_meanwhile_is_counted_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for the batch of a message and the lock of it, a lane cuts it and sends a piece of it."""
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: nothing happens in between")
    execution = start(database, clients=4, large=set())
    batch = claim(database, execution)
    hold = transitions.hold
    meanwhile: list[ClaimedBatch] = []

    def cut_before_hold(session: Any, batch_ids: Any) -> Any:
        if not meanwhile:
            database.run(lambda s: split_batch(s, batch, {batch.last_message_id}))
            meanwhile.extend(claim(database, execution) for _ in range(2))
            database.run(lambda s: to_sending(s, meanwhile[1]))
        return hold(session, batch_ids)

    monkeypatch.setattr(transitions, "hold", cut_before_hold)
    bits = {batch.first_message_id: Feedback.DELIVERED, batch.last_message_id: Feedback.DELIVERED}
    database.run(lambda s: apply_feedback(s, bits))
    assert counts(database, execution) == {"accepted": 2, "pending": 2}
