"""Messages whose outcome nobody knows: closed by whoever looks, ended by evidence or by a person, and counted right."""

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Engine, func, select, update

from db.dialect import utc_in
from db.engine import Database
from db.errors import Conflict, NotFound, StaleToken
from db.models import Approval, Batch, FailedJob, Message
from db.queries import closing, executions, ledger, unknown
from db.queries.events import EventRow, insert_events
from db.queries.failed_jobs import retry_job
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.transitions import ClaimedBatch
from db.queries.unknown import Decided, Decision, UnknownMessage
from db.states import (
    BatchState,
    Channel,
    ExecutionState,
    Failure,
    Feedback,
    JobKind,
    JobState,
    MessageState,
    RetryEffect,
)
from tasks.feedback.closing import Closed, close_all
from tests.builders import add_campaign, age_batches, prepared, resend, to_sending

WINDOW = timedelta(hours=72)


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def start(
    database: Database, *, clients: int = 4, batch_size: int = 2, channel: Channel = Channel.EMAIL
) -> int:
    return database.run(
        lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel), batch_size=batch_size).id
    )


def claim(database: Database, execution_id: int, lease: int = 60) -> ClaimedBatch:
    batch = database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=lease))
    assert batch is not None
    return batch


def send(database: Database, execution_id: int, *, lease: int = 60) -> ClaimedBatch:
    """Put the next batch into `sending`."""
    batch = claim(database, execution_id)
    database.run(lambda s: to_sending(s, batch, lease_seconds=lease))
    return batch


def lose(database: Database, execution_id: int, *, hours: float = 0) -> ClaimedBatch:
    """The next batch became unknown so many hours ago."""
    batch = send(database, execution_id)
    database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
    if hours:
        database.run(lambda s: age_batches(s, batch.id, hours=hours))
    return batch


def close(database: Database, **values: int) -> Closed:
    return close_all(database, window=WINDOW, **values)


def resend_due(database: Database, execution_id: int, *, early: bool = False) -> Decided:
    decision = Decision("Ada", token_id=7, before_evidence_window=early)
    return database.run(lambda s: unknown.resend_unknown(s, execution_id, decision, window=WINDOW))


def write_off(database: Database, execution_id: int, *, early: bool = False) -> Decided:
    decision = Decision("Ada", token_id=7, before_evidence_window=early)
    return database.run(lambda s: unknown.close_unknown(s, execution_id, decision, window=WINDOW))


def state_of(database: Database, execution_id: int) -> ExecutionState:
    with database.reading() as s:
        return executions.get_execution(s, execution_id).state


def states(database: Database, execution_id: int) -> dict[str, int]:
    """Counts per state, after checking that stats equal a recount (I6) and that they add up (I2)."""
    with database.reading() as s:
        counts, fresh = get_counts(s, execution_id), recount(s, execution_id)
    assert counts == fresh
    per_state = {state.value: counts.messages[state.value] for state in MessageState}
    assert counts.messages["intended"] == sum(per_state.values())
    return {state: count for state, count in per_state.items() if count}


def jobs(database: Database) -> list[FailedJob]:
    with database.reading() as s:
        return list(s.scalars(select(FailedJob).order_by(FailedJob.id)))


def store_events(database: Database, message_ids: list[int], *kinds: str) -> None:
    """Events that are stored, but were never applied to the ledger."""
    rows = [
        EventRow(
            client_id=None,
            execution_id=None,
            delivery_id=1,
            fingerprint=f"{kind}-{message_id}".encode().ljust(32),
            provider_event_id=None,
            provider="sendgrid",
            kind=kind,
            message_id=message_id,
            address=None,
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
            url=None,
            classification=None,
            reason=None,
            raw={},
        )
        for message_id in message_ids
        for kind in kinds
    ]
    database.run(lambda s: insert_events(s, rows))


class TestClosing:
    """`close_all`, which runs every minute."""

    def test_a_batch_whose_holder_died_in_sending_is_closed_without_any_lane(
        self, database: Database
    ) -> None:
        execution_id = start(database, clients=2)
        send(database, execution_id, lease=-1)
        assert close(database) == Closed(executions=1, expired=1)
        assert states(database, execution_id) == {"unknown": 2}
        assert state_of(database, execution_id) is ExecutionState.SETTLING
        assert close(database) == Closed()

    def test_a_claim_whose_holder_died_is_due_again(self, database: Database) -> None:
        execution_id = start(database)
        first = claim(database, execution_id, lease=-1)
        assert close(database) == Closed(executions=1, released=1)
        assert claim(database, execution_id).id == first.id

    def test_what_is_held_or_due_is_left_alone(self, database: Database) -> None:
        execution_id = start(database, clients=6)
        send(database, execution_id)
        claim(database, execution_id)
        assert close(database) == Closed()
        assert states(database, execution_id) == {"pending": 4, "sending": 2}

    @pytest.mark.parametrize("end", ["pause", "cancel"])
    def test_a_paused_or_cancelled_execution_ends_without_a_message_in_sending(
        self, database: Database, end: str
    ) -> None:
        execution_id = start(database)
        batch = send(database, execution_id)
        if end == "pause":
            database.run(lambda s: executions.pause_execution(s, execution_id, reason="lunch"))
        else:
            database.run(lambda s: executions.cancel_execution(s, execution_id))
        database.run(
            lambda s: s.execute(update(Batch).where(Batch.id == batch.id).values(lease_until=utc_in(-1)))
        )
        assert close(database).expired == 1
        left = "pending" if end == "pause" else "cancelled"
        assert states(database, execution_id) == {left: 2, "unknown": 2}
        assert state_of(database, execution_id).value == ("paused" if end == "pause" else "cancelled")

    def test_events_that_were_stored_already_prove_what_became_unknown_later(
        self, database: Database
    ) -> None:
        execution_id = start(database, clients=3, batch_size=3)
        first, second, third = range(*_ids(lose(database, execution_id)))
        database.run(lambda s: executions.settle_execution(s, execution_id))
        store_events(database, [first, second], "processed", "delivered")
        assert close(database) == Closed(executions=1, proven=2)
        assert states(database, execution_id) == {"accepted": 2, "unknown": 1}
        store_events(database, [third], "dispatched")
        assert close(database).proven == 1
        assert states(database, execution_id) == {"accepted": 3}
        assert state_of(database, execution_id) is ExecutionState.COMPLETED
        with database.reading() as s:
            feedback = s.scalars(select(Message.feedback).order_by(Message.id)).all()
        assert feedback == [Feedback.PROCESSED | Feedback.DELIVERED] * 2 + [Feedback(0)]

    def test_a_run_does_so_much_and_the_next_one_the_rest(self, database: Database) -> None:
        execution_id = start(database, clients=4, batch_size=4)
        ids = list(range(*_ids(lose(database, execution_id))))
        store_events(database, ids, "processed", "delivered", "open")
        assert [close(database, most_messages=3).proven for _ in range(3)] == [3, 1, 0]
        assert states(database, execution_id) == {"accepted": 4}

    def test_every_execution_gets_its_turn(self, database: Database) -> None:
        made = [start(database, clients=0), _another(database, "b"), _another(database, "c")]
        assert [close(database, most_executions=2).executions for _ in range(3)] == [2, 1, 0]
        assert {state_of(database, key) for key in made} == {ExecutionState.COMPLETED}

    def test_an_execution_that_cannot_be_closed_holds_up_no_other(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad, good = start(database, clients=0), _another(database, "b")
        settle = executions.settle_execution

        def failing(session, execution_id):  # type: ignore[no-untyped-def]
            if execution_id == bad:
                raise RuntimeError("broken")
            return settle(session, execution_id)

        monkeypatch.setattr("tasks.feedback.closing.settle_execution", failing)
        assert close(database).executions == 2
        assert state_of(database, good) is ExecutionState.COMPLETED
        assert state_of(database, bad) is ExecutionState.SENDING


class TestOverdue:
    """Kind `unknown_outcome`."""

    def test_what_is_unknown_after_the_window_is_one_failed_job_however_often_it_is_looked_at(
        self, database: Database
    ) -> None:
        execution_id = start(database)
        lose(database, execution_id, hours=73)
        lose(database, execution_id, hours=71)
        assert close(database).reported == 1
        assert close(database) == Closed()
        [job] = jobs(database)
        assert (job.kind, job.execution_id) == (JobKind.UNKNOWN_OUTCOME, execution_id)
        assert job.error.startswith(
            "2 messages have an unknown outcome, and no evidence came within 72 hours."
        )
        assert "@" not in job.error

    def test_nothing_is_said_before_the_window_is_over(self, database: Database) -> None:
        execution_id = start(database, clients=2)
        lose(database, execution_id, hours=71)
        assert close(database).reported == 0
        assert jobs(database) == []

    def test_two_runs_at_once_report_once(self, database: Database) -> None:
        execution_id = start(database, clients=2)
        lose(database, execution_id, hours=73)
        report = partial(closing.report_overdue, execution_id=execution_id, window=WINDOW)
        threads = [threading.Thread(target=database.run, args=(report,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(jobs(database)) == 1

    def test_the_job_is_dealt_with_by_a_decision_and_comes_again_only_for_new_ones(
        self, database: Database
    ) -> None:
        execution_id = start(database, clients=2)
        lose(database, execution_id, hours=73)
        close(database)
        resend_due(database, execution_id)
        [job] = jobs(database)
        assert (job.state, job.retried_by) == (JobState.RETRIED, "Ada")
        lose(database, execution_id)
        assert close(database).reported == 0
        with database.reading() as s:
            batch_id = s.scalars(select(Batch.id)).one()
        database.run(lambda s: age_batches(s, batch_id, hours=73))
        assert close(database).reported == 1

    def test_a_retry_sends_nothing_that_may_have_been_sent(self, database: Database) -> None:
        execution_id = start(database, clients=2)
        batch = lose(database, execution_id, hours=73)
        close(database)
        [job] = jobs(database)
        with pytest.raises(Conflict, match=f"/api/flow-executions/{execution_id}/unknown/resend"):
            database.run(lambda s: retry_job(s, job.id, retried_by="Ada"))
        assert states(database, execution_id) == {"unknown": 2}
        bits = dict.fromkeys(range(*_ids(batch)), Feedback.DELIVERED)
        database.run(lambda s: apply_feedback(s, bits))
        retried = database.run(lambda s: retry_job(s, job.id, retried_by="Ada"))
        assert retried.effect is RetryEffect.NOTHING

    @pytest.mark.parametrize("end", ["pause", "cancel"])
    def test_unknown_messages_are_reported_though_others_of_their_batch_were_due(
        self, database: Database, end: str
    ) -> None:
        """An SMS batch of a stopped execution is pending, and nobody will claim it."""
        execution_id = start(database, clients=2, channel=Channel.SMS)
        batch = send(database, execution_id)
        database.run(
            lambda s: ledger.record_sms(
                s,
                batch,
                accepted={},
                failed={},
                unknown=[batch.first_message_id],
                retry_delay=0,
                error="reset",
            )
        )
        if end == "pause":
            database.run(lambda s: executions.pause_execution(s, execution_id, reason="a person"))
        else:
            database.run(lambda s: executions.cancel_execution(s, execution_id))
        assert close(database).reported == 0
        database.run(lambda s: age_batches(s, batch.id, hours=73))
        assert close(database).reported == 1
        assert close(database).reported == 0

    def test_unknown_messages_of_a_cancelled_execution_are_reported_too(self, database: Database) -> None:
        execution_id = start(database)
        lose(database, execution_id, hours=73)
        database.run(lambda s: executions.cancel_execution(s, execution_id))
        assert close(database).reported == 1


class TestDecisions:
    """Sending again, and writing off."""

    def test_a_resend_is_refused_while_evidence_may_come(self, database: Database) -> None:
        execution_id = start(database)
        lose(database, execution_id, hours=70)
        lose(database, execution_id, hours=71.5)
        with database.reading() as s:
            until = s.scalars(select(func.max(Batch.updated_at))).one() + WINDOW
        for decide in (resend_due, write_off):
            with pytest.raises(Conflict) as caught:
                decide(database, execution_id)
            assert f"until {until:%Y-%m-%d %H:%M:%S} UTC" in str(caught.value)
            assert caught.value.field == "before_evidence_window"
        assert states(database, execution_id) == {"unknown": 4}
        assert resend_due(database, execution_id, early=True).messages == 4
        assert states(database, execution_id) == {"pending": 4}

    def test_only_messages_whose_window_is_over_are_sent_again(self, database: Database) -> None:
        execution_id = start(database, clients=6)
        old, young = lose(database, execution_id, hours=73), lose(database, execution_id)
        decided = resend_due(database, execution_id)
        assert (decided.messages, decided.left) == (2, 2)
        assert states(database, execution_id) == {"pending": 4, "unknown": 2}
        with database.reading() as s:
            rows = s.execute(select(Batch.id, Batch.state)).tuples().all()
        assert dict(rows)[old.id] is BatchState.PENDING
        assert dict(rows)[young.id] is BatchState.UNKNOWN
        assert claim(database, execution_id).id == old.id

    def test_what_has_evidence_is_neither_sent_again_nor_written_off(self, database: Database) -> None:
        execution_id = start(database, clients=2)
        first, _ = range(*_ids(lose(database, execution_id, hours=73)))
        store_events(database, [first], "delivered")
        decided = resend_due(database, execution_id)
        assert (decided.messages, decided.left) == (1, 1)
        assert len(database.run(partial(to_sending, batch=claim(database, execution_id)))) == 1
        assert close(database).proven == 1
        assert states(database, execution_id) == {"accepted": 1, "sending": 1}

    def test_who_claimed_a_batch_before_a_resend_cannot_send_what_he_read_then(
        self, database: Database
    ) -> None:
        """Evidence takes one message out of the batch, the resend puts another one in: their number is the same."""
        execution_id = start(database, clients=2, channel=Channel.SMS)
        batch = send(database, execution_id)
        doubtful, waiting = range(*_ids(batch))
        database.run(
            lambda s: ledger.record_sms(
                s, batch, accepted={}, failed={}, unknown=[doubtful], retry_delay=0, error="reset"
            )
        )
        slow = claim(database, execution_id)
        with database.reading() as s:
            ready = [recipient.message_id for recipient in ledger.read_batch(s, slow)]
        assert ready == [waiting]
        database.run(lambda s: apply_feedback(s, {waiting: Feedback.DELIVERED}))
        assert resend_due(database, execution_id, early=True).messages == 1
        with pytest.raises(StaleToken):
            database.run(
                lambda s: ledger.commit_sending(
                    s, slow, ready=ready, failed={}, excluded={}, lease_seconds=60
                )
            )
        assert states(database, execution_id) == {"accepted": 1, "pending": 1}
        again = claim(database, execution_id)
        assert database.run(lambda s: to_sending(s, again)) == {doubtful}

    def test_a_batch_that_is_being_sent_for_its_other_messages_is_waited_for(
        self, database: Database
    ) -> None:
        """An SMS batch may have unknown messages and others that are due."""
        execution_id = start(database, clients=2, channel=Channel.SMS)
        batch = send(database, execution_id)
        database.run(
            lambda s: ledger.record_sms(
                s,
                batch,
                accepted={},
                failed={},
                unknown=[batch.first_message_id],
                retry_delay=0,
                error="429",
            )
        )
        again = send(database, execution_id)
        with pytest.raises(Conflict, match="being sent"):
            resend_due(database, execution_id, early=True)
        database.run(lambda s: ledger.return_batch(s, again, error="429", delay_seconds=0))
        assert resend_due(database, execution_id, early=True).messages == 1
        assert states(database, execution_id) == {"pending": 2}

    def test_messages_that_are_written_off_failed_and_the_execution_is_over(self, database: Database) -> None:
        execution_id = start(database, clients=2)
        lose(database, execution_id, hours=73)
        close(database)
        assert write_off(database, execution_id).messages == 2
        assert states(database, execution_id) == {"failed": 2}
        assert state_of(database, execution_id) is ExecutionState.COMPLETED
        with database.reading() as s:
            assert set(s.scalars(select(Message.reason))) == {Failure.UNRESOLVED}
            [approval] = s.scalars(select(Approval))
        assert (approval.action, approval.approved_by) == ("close_unknown", "Ada")
        assert approval.details == {
            "messages": 2,
            "left": 0,
            "token_id": 7,
            "before_evidence_window": False,
        }
        assert [job.state for job in jobs(database)] == [JobState.RETRIED]

    def test_an_execution_with_something_to_send_goes_on_after_a_write_off(self, database: Database) -> None:
        execution_id = start(database)
        lose(database, execution_id)
        write_off(database, execution_id, early=True)
        assert states(database, execution_id) == {"failed": 2, "pending": 2}
        assert state_of(database, execution_id) is ExecutionState.SENDING

    def test_of_a_cancelled_execution_nothing_is_sent_again_but_all_can_be_written_off(
        self, database: Database
    ) -> None:
        execution_id = start(database)
        lose(database, execution_id, hours=73)
        database.run(lambda s: executions.cancel_execution(s, execution_id))
        with pytest.raises(Conflict, match="cancelled"):
            resend_due(database, execution_id)
        write_off(database, execution_id)
        assert states(database, execution_id) == {"cancelled": 2, "failed": 2}
        assert state_of(database, execution_id) is ExecutionState.CANCELLED

    def test_without_unknown_messages_there_is_nothing_to_decide(self, database: Database) -> None:
        execution_id = start(database)
        for decide in (resend_due, write_off):
            with pytest.raises(Conflict, match="no message"):
                decide(database, execution_id)
            with pytest.raises(NotFound):
                decide(database, execution_id + 1)
        with database.reading() as s:
            assert s.scalars(select(Approval)).all() == []

    def test_more_batches_than_fit_into_a_statement_are_decided_together(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(unknown, "_AT_A_TIME", 2)
        execution_id = start(database, clients=6, batch_size=1)
        for _ in range(5):
            lose(database, execution_id)
        assert resend_due(database, execution_id, early=True).messages == 5
        assert states(database, execution_id) == {"pending": 6}

    def test_resends_evidence_and_write_offs_at_once_leave_the_counts_right(self, database: Database) -> None:
        execution_id = start(database, clients=12, batch_size=3)
        batches = [lose(database, execution_id) for _ in range(4)]
        refused: list[str] = []

        def decide(action) -> None:  # type: ignore[no-untyped-def]
            try:
                action(database, execution_id, early=True)
            except Conflict as conflict:
                refused.append(str(conflict))

        def prove(batch: ClaimedBatch) -> None:
            bits = dict.fromkeys(range(*_ids(batch)), Feedback.DELIVERED)
            database.run(lambda s: apply_feedback(s, bits))

        threads = [threading.Thread(target=decide, args=(action,)) for action in (resend_due, write_off)]
        threads += [threading.Thread(target=prove, args=(batch,)) for batch in batches[:2]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = states(database, execution_id)
        assert "unknown" not in after
        assert len(refused) <= 1


class TestLooking:
    """What is shown of unknown messages."""

    def test_counts_and_ages_are_those_of_the_batches(self, database: Database) -> None:
        execution_id = start(database, clients=7)
        lose(database, execution_id, hours=80)
        lose(database, execution_id, hours=10)
        with database.reading() as s:
            found = unknown.count_unknown(s, execution_id, window=WINDOW)
        assert (found.messages, found.batches, found.overdue) == (4, 2, 2)
        assert found.oldest_seconds == pytest.approx(80 * 3600, abs=60)
        assert found.oldest_since is not None
        assert found.evidence_until is not None
        assert found.evidence_until - found.oldest_since == pytest.approx(
            timedelta(hours=70 + 72), abs=timedelta(seconds=60)
        )

    def test_without_unknown_messages_there_is_no_age(self, database: Database) -> None:
        execution_id = start(database)
        with database.reading() as s:
            found = unknown.count_unknown(s, execution_id, window=WINDOW)
        assert vars(found) == {
            "messages": 0,
            "batches": 0,
            "overdue": 0,
            "oldest_since": None,
            "oldest_seconds": None,
            "evidence_until": None,
        }

    def test_each_message_is_listed_with_its_own_batch(self, database: Database) -> None:
        execution_id = start(database, clients=6)
        first = lose(database, execution_id)
        accepted = send(database, execution_id)
        database.run(lambda s: ledger.accept_batch(s, accepted, "X"))
        last = lose(database, execution_id)
        listed: list[UnknownMessage] = []
        after: int | None = 0
        while after is not None:
            with database.reading() as s:
                page = unknown.list_unknown(s, execution_id, after=after, limit=3)
            listed += page.items
            after = page.next_cursor
        assert [row.id for row in listed] == [*range(*_ids(first)), *range(*_ids(last))]
        assert [row.batch_id for row in listed] == [first.id, first.id, last.id, last.id]
        assert {(row.step, row.error) for row in listed} == {(1, "reset")}
        with database.reading() as s:
            since = s.scalars(select(Batch.updated_at).where(Batch.id == last.id)).one()
        assert listed[-1].since == since


def test_a_resend_reopens_a_settled_execution(database: Database) -> None:
    execution_id = start(database, clients=2)
    lose(database, execution_id)
    database.run(lambda s: executions.settle_execution(s, execution_id))
    database.run(lambda s: resend(s, execution_id))
    assert state_of(database, execution_id) is ExecutionState.SENDING


def _ids(batch: ClaimedBatch) -> tuple[int, int]:
    return batch.first_message_id, batch.last_message_id + 1


def _another(database: Database, name: str) -> int:
    return database.run(lambda s: prepared(s, add_campaign(s, name=name)).id)
