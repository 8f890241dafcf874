"""The engine against the sandbox: what leaves, what is recorded, and what no failure may do twice."""

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import pytest
from sqlalchemy import select

from db.errors import Conflict, StaleToken
from db.models import FailedJob, FlowExecution, Message
from db.queries import executions, ledger
from db.queries.failed_jobs import retry_job
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, ExecutionState, MessageState, SuppressionReason
from tasks.sending.attempts import ChannelSender
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine, Step
from tasks.sending.factory import make_sendgrid, make_sendmode
from tasks.sending.sms import SmsSender
from tests.builders import add_campaign, add_clients, prepared, to_sending
from tests.integration.conftest import PUBLIC_URL, Sandbox

Given = Callable[..., FlowExecution]


@pytest.fixture
def given(send_engine: SendEngine) -> Given:
    """A prepared execution over some clients, in batches of four."""

    def make(*, clients: int = 10, channel: Channel = Channel.EMAIL, **values: str) -> FlowExecution:
        return send_engine.database.run(
            lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel, **values), batch_size=4)
        )

    return make


def run(send_engine: SendEngine, execution: FlowExecution) -> ExecutionState:
    send_engine.run_slice(execution.id, most_batches=100)
    return send_engine.database.run(lambda s: executions.settle_execution(s, execution.id))


def counts(send_engine: SendEngine, execution: FlowExecution) -> dict[str, int]:
    """Counts per state, after checking that stats equal a recount (I6) and that they add up (I2)."""
    with send_engine.database.reading() as s:
        stats, fresh = get_counts(s, execution.id), recount(s, execution.id)
    assert stats == fresh
    states = {state.value: stats.messages[state.value] for state in MessageState}
    assert sum(states.values()) == stats.messages["intended"]
    return {name: count for name, count in states.items() if count}


def test_everybody_gets_one_personalised_email(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=10)
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 10}
    assert sandbox.journal(execution.uid) == {
        "accepted": 10,
        "distinct": 10,
        "duplicates": 0,
        "parts": 0,
        "providers": {"sendgrid": 10},
    }
    entries = sandbox.entries(execution.uid)
    assert {entry["subject"] for entry in entries} == {f"Hello Client{n}" for n in range(10)}
    assert len({entry["request_id"] for entry in entries}) == 3
    content = sandbox.message(entries[0]["reference"])
    assert f"https://shop.example.com/unsubscribe/{entries[0]['reference']}." in content["html"]


def test_everybody_gets_one_sms(send_engine: SendEngine, sandbox: Sandbox, given: Given) -> None:
    execution = given(clients=10, channel=Channel.SMS, text="Hi {{ client.first_name }} €")
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 10}
    assert sandbox.journal(execution.uid)["parts"] == 10
    with send_engine.database.reading() as s:
        assert get_counts(s, execution.id).sms["parts"] == 10
        assert all(s.scalars(select(Message.provider_message_id)))


@pytest.mark.parametrize("channel", list(Channel))
@pytest.mark.parametrize("kind", ["429"])
def test_what_was_certainly_not_taken_is_sent_again(
    send_engine: SendEngine, sandbox: Sandbox, given: Given, kind: str, channel: Channel
) -> None:
    execution = given(clients=5, channel=channel)
    sandbox.fail("sendgrid" if channel is Channel.EMAIL else "sendmode", kind, count=2, seconds=0)
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 5}
    assert sandbox.journal(execution.uid)["duplicates"] == 0


@pytest.mark.parametrize(
    "kind",
    ["500_after_accept", "reset_after_accept", "truncated", "garbled", "hang", "slow_drip", "500_before"],
)
def test_what_may_have_been_taken_is_never_sent_again(
    send_engine: SendEngine, sandbox: Sandbox, given: Given, kind: str
) -> None:
    execution = given(clients=8)
    sandbox.fail("sendgrid", kind, count=1, seconds=4)
    assert run(send_engine, execution) is ExecutionState.SETTLING
    assert counts(send_engine, execution) == {"accepted": 4, "unknown": 4}
    assert run(send_engine, execution) is ExecutionState.SETTLING
    assert sandbox.journal(execution.uid)["duplicates"] == 0
    assert sandbox.journal(execution.uid)["accepted"] == (4 if kind == "500_before" else 8)


def test_an_uncertain_sms_leaves_the_rest_of_its_batch_alone(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=4, channel=Channel.SMS)
    sandbox.fail("sendmode", "reset_after_accept", count=1)
    assert run(send_engine, execution) is ExecutionState.SETTLING
    assert counts(send_engine, execution) == {"accepted": 3, "unknown": 1}


def test_a_refused_recipient_does_not_hold_up_the_others(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=4)
    sandbox.fail("sendgrid", "partial_refusal", count=1)
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 3, "failed": 1}
    with send_engine.database.reading() as s:
        reason = s.scalars(select(Message.reason).where(Message.state == MessageState.FAILED)).one()
    assert reason == "refused: Does not contain a valid address."


def test_a_wrong_key_pauses_the_execution_and_says_so(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=8)
    send_engine.senders[Channel.EMAIL]._messenger._headers["Authorization"] = "Bearer wrong"  # type: ignore[attr-defined]
    assert run(send_engine, execution) is ExecutionState.PAUSED
    assert counts(send_engine, execution) == {"pending": 8}
    with send_engine.database.reading() as s:
        assert "SendGrid refuses" in str(executions.get_execution(s, execution.id).reason)
        assert s.scalars(select(FailedJob.kind)).one() == "request_refused"


def test_a_message_that_cannot_be_rendered_fails_alone(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    text = "{{ client.custom.size | times: 2 | divided_by: client.custom.divisor }}"
    execution = given(clients=0, channel=Channel.SMS, text=text)

    def more(s):  # type: ignore[no-untyped-def]
        campaign = add_campaign(s, name="Other", channel=Channel.SMS, text=text)
        for number, divisor in enumerate((1, 0, 2)):
            custom = {"size": 4, "divisor": divisor}
            phone = f"+35386000000{number}"
            add_clients(
                s,
                1,
                list_id=campaign.client_list.id,
                email=f"r{number}@x.ie",
                phone=phone,
                custom_fields=custom,
            )
        return prepared(s, campaign, batch_size=4)

    execution = send_engine.database.run(more)
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 2, "failed": 1}


def test_several_lanes_share_an_execution_without_a_duplicate(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=60)
    lanes = [
        threading.Thread(target=send_engine.run_slice, args=(execution.id,), kwargs={"most_batches": 100})
        for _ in range(4)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 60}
    assert sandbox.journal(execution.uid)["duplicates"] == 0


def test_a_sleeper_that_wakes_after_its_lease_writes_nothing(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    """The batch of a process that was stopped in the middle of its request (SIGSTOP) is closed as unknown by another."""
    execution = given(clients=4)
    database = send_engine.database
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: to_sending(s, batch, lease_seconds=-1))
    assert send_engine.step(execution.id) is Step.NOTHING_LEFT
    with pytest.raises(StaleToken):
        database.run(lambda s: ledger.accept_batch(s, batch, "too late"))
    assert counts(send_engine, execution) == {"unknown": 4}
    assert sandbox.journal(execution.uid)["accepted"] == 0


def test_a_paused_execution_sends_nothing_and_goes_on_when_resumed(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=8)
    database = send_engine.database
    assert send_engine.step(execution.id) is Step.WORKED
    database.run(lambda s: executions.pause_execution(s, execution.id, reason="a person"))
    assert run(send_engine, execution) is ExecutionState.PAUSED
    assert counts(send_engine, execution) == {"accepted": 4, "pending": 4}
    database.run(lambda s: executions.resume_execution(s, execution.id))
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert sandbox.journal(execution.uid)["duplicates"] == 0


@pytest.mark.parametrize("channel", list(Channel))
def test_a_batch_that_gave_up_and_is_retried_is_sent_to_everybody_once(
    send_engine: SendEngine, sandbox: Sandbox, given: Given, channel: Channel
) -> None:
    execution = given(clients=8, channel=channel)
    database = send_engine.database
    nowhere = dict.fromkeys(("sendgrid_base_url", "sendmode_base_url"), "http://127.0.0.1:9")
    settings = send_engine.settings.model_copy(update={"max_batch_attempts": 1, **nowhere})
    senders: dict[Channel, ChannelSender] = {
        Channel.EMAIL: EmailSender(database, make_sendgrid(settings), public_url=PUBLIC_URL, key=b"key"),
        Channel.SMS: SmsSender(database, make_sendmode(settings), max_parts=4),
    }
    assert run(SendEngine(database, settings, senders), execution) is ExecutionState.COMPLETED
    before = counts(send_engine, execution)
    assert before == {"failed": 8}
    with database.reading() as s:
        jobs = s.scalars(select(FailedJob.id).where(FailedJob.kind == "send_batch")).all()

    for job_id in jobs:
        database.run(partial(retry_job, job_id=job_id, retried_by="Ada"))
    assert counts(send_engine, execution)["pending"] == before["failed"]
    assert run(send_engine, execution) is ExecutionState.COMPLETED

    assert counts(send_engine, execution) == {"accepted": 8}
    journal = sandbox.journal(execution.uid)
    assert (journal["accepted"], journal["duplicates"]) == (8, 0)


def test_who_unsubscribes_between_the_failure_and_the_retry_gets_nothing(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=4)
    database = send_engine.database
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: ledger.give_up_batch(s, batch, error="always 429"))
    change = SuppressionChange(
        Channel.EMAIL, "client0@example.com", SuppressionReason.MANUAL, datetime.now(UTC), "test"
    )
    database.run(lambda s: apply_suppressions(s, [change]))
    with database.reading() as s:
        job_id = s.scalars(select(FailedJob.id)).one()
    database.run(lambda s: retry_job(s, job_id, retried_by="Ada"))
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 3, "excluded": 1}


def test_jobs_that_several_people_retry_while_lanes_send_are_sent_once(
    send_engine: SendEngine, sandbox: Sandbox, given: Given
) -> None:
    execution = given(clients=40)
    database = send_engine.database
    for _ in range(6):
        batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
        assert batch is not None
        database.run(partial(ledger.give_up_batch, batch=batch, error="always 429"))
    with database.reading() as s:
        jobs = s.scalars(select(FailedJob.id)).all()

    def retry_all() -> None:
        for job_id in jobs:
            with suppress(Conflict):
                database.run(partial(retry_job, job_id=job_id, retried_by="Ada"))

    def send() -> None:
        run(send_engine, execution)

    threads = [threading.Thread(target=target) for target in (send, retry_all, send, retry_all)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run(send_engine, execution) is ExecutionState.COMPLETED
    assert counts(send_engine, execution) == {"accepted": 40}
    journal = sandbox.journal(execution.uid)
    assert (journal["accepted"], journal["duplicates"]) == (40, 0)
