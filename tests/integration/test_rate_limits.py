"""Rates that several workers keep to together, seen from the provider's side."""

import threading
import time
from bisect import bisect_right
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from db.engine import Database
from db.models import FlowExecution
from db.queries import executions, rate_limits
from db.states import Channel, ExecutionState
from tasks.sending.engine import SendEngine
from tests.builders import add_campaign, prepared
from tests.integration.conftest import Sandbox

BATCH = 20


def started(send_engine: SendEngine, channel: Channel, clients: int) -> FlowExecution:
    return send_engine.database.run(
        lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel), batch_size=BATCH)
    )


def limit(
    database: Database, name: str, *, requests: float | None = None, messages: float | None = None
) -> None:
    database.run(
        lambda s: rate_limits.upsert_rate_limit(
            s, name, requests_per_second=requests, messages_per_second=messages
        )
    )


def run_workers(send_engine: SendEngine, execution: FlowExecution, workers: int = 3) -> None:
    """Workers that know of each other by the database only: each is an engine with a limiter of its own."""
    engines = [replace(send_engine) for _ in range(workers)]
    threads = [
        threading.Thread(target=each.run_slice, args=(execution.id,), kwargs={"most_batches": 1000})
        for each in engines
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = send_engine.database.run(lambda s: executions.settle_execution(s, execution.id))
    assert state is ExecutionState.COMPLETED


def most_within(moments: list[float], seconds: float) -> int:
    """The most moments in any stretch of so many seconds."""
    moments = sorted(moments)
    return max(bisect_right(moments, moment + seconds) - at for at, moment in enumerate(moments))


@pytest.mark.parametrize("channel", list(Channel))
def test_three_workers_together_keep_to_the_rate_of_the_provider(
    send_engine: SendEngine, sandbox: Sandbox, channel: Channel
) -> None:
    # What may come at once: an email request is a whole batch; of SMS as many as the three have in the air together.
    rate, burst = 100, BATCH if channel is Channel.EMAIL else 3 * send_engine.settings.sms_concurrency
    execution = started(send_engine, channel, clients=300)
    limit(send_engine.database, rate_limits.PROVIDERS[channel], messages=rate)
    run_workers(send_engine, execution)
    moments = [entry["accepted_at"] for entry in sandbox.entries(execution.uid)]
    assert len(moments) == 300
    assert most_within(moments, 1.0) <= rate + burst


def test_requests_are_limited_as_well_as_messages(send_engine: SendEngine, sandbox: Sandbox) -> None:
    execution = started(send_engine, Channel.EMAIL, clients=120)
    limit(send_engine.database, "sendgrid", requests=4)
    run_workers(send_engine, execution)
    entries = sandbox.entries(execution.uid)
    requests = {entry["request_id"]: entry["accepted_at"] for entry in entries}
    assert len(requests) == 6
    assert most_within(list(requests.values()), 1.0) <= 5


def test_a_flow_has_a_rate_of_its_own(send_engine: SendEngine, sandbox: Sandbox) -> None:
    execution = started(send_engine, Channel.EMAIL, clients=80)
    limit(send_engine.database, rate_limits.flow_limit(execution.flow_id), messages=40)
    limit(send_engine.database, "sendgrid", messages=1000)
    run_workers(send_engine, execution)
    moments = [entry["accepted_at"] for entry in sandbox.entries(execution.uid)]
    assert most_within(moments, 1.0) <= 40 + BATCH


def test_a_limit_can_be_lifted_while_it_holds(send_engine: SendEngine, sandbox: Sandbox) -> None:
    """At the first rate the campaign would take 25 minutes."""
    execution = started(send_engine, Channel.EMAIL, clients=300)
    limit(send_engine.database, "sendgrid", messages=0.2)
    workers = threading.Thread(target=run_workers, args=(send_engine, execution))
    workers.start()
    deadline = time.monotonic() + 20
    while not sandbox.journal(execution.uid)["accepted"]:
        assert time.monotonic() < deadline, "nothing is sent at all"
        time.sleep(0.05)
    assert sandbox.journal(execution.uid)["accepted"] == BATCH
    send_engine.database.run(lambda s: rate_limits.delete_rate_limit(s, "sendgrid"))
    workers.join(timeout=60)
    assert not workers.is_alive()
    assert sandbox.journal(execution.uid)["accepted"] == 300


def test_a_provider_that_says_when_to_come_back_is_left_alone_until_then(
    send_engine: SendEngine, sandbox: Sandbox
) -> None:
    execution = started(send_engine, Channel.EMAIL, clients=200)
    sandbox.fail("sendgrid", "429", count=1, seconds=2)
    begun = time.time()
    run_workers(send_engine, execution)
    assert sandbox.journal(execution.uid)["accepted"] == 200
    # What was on its way at that moment got through; nothing was begun in the second after it.
    late = [e["accepted_at"] for e in sandbox.entries(execution.uid) if e["accepted_at"] > begun + 1.0]
    assert min(late) >= begun + 1.5


def test_being_told_to_wait_does_not_use_up_attempts(send_engine: SendEngine, sandbox: Sandbox) -> None:
    execution = started(send_engine, Channel.EMAIL, clients=4)
    impatient = send_engine.settings.model_copy(update={"max_batch_attempts": 1})
    sandbox.fail("sendgrid", "429", count=3, seconds=0)
    run_workers(replace(send_engine, settings=impatient), execution, workers=1)
    assert sandbox.journal(execution.uid)["accepted"] == 4


def test_a_place_too_far_away_is_not_reserved(engine: Engine) -> None:
    database = Database(engine)
    limit(database, "sendgrid", messages=1)

    def reserve(messages: int) -> rate_limits.Slot:
        return database.run(
            lambda s: rate_limits.reserve(s, ["sendgrid"], requests=1, messages=messages, horizon=5.0)
        )

    assert reserve(10).wait == 0
    far = reserve(1)
    assert not far.is_reserved
    assert 9 <= far.wait <= 10
    assert reserve(1).wait <= far.wait
