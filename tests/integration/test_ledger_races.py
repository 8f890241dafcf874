"""Transactions that meet: two at the same rows at the same time, on a database that has more than one writer.

Where an exact order is wanted, one transaction holds its locks until the database itself says that the other one waits for
them. Else many short rounds start at a barrier. After each of them the ledger has to add up, a worker that does all as it
should has to bring it to its end, and nothing may be handed out that is known to be accepted.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text, update

from db.dialect import utc_in
from db.engine import Database, Session
from db.errors import Conflict, StaleToken
from db.models import Batch, Message, Unsubscribed
from db.queries import executions, leases, ledger, transitions
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.queries.transitions import ClaimedBatch
from db.states import BatchState, Channel, ExecutionState, Feedback, MessageState, SuppressionReason
from tests.builders import add_campaign, prepared, resend, to_sending

LEASE = 60
ROUNDS = 25
PATIENCE_SECONDS = 20.0
Work = Callable[[Session], Any]


@pytest.fixture
def database(engine: Engine) -> Database:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: no two transactions meet")
    return Database(engine)


class Campaigns:
    """Executions of one campaign, and what was handed to the provider of each message."""

    def __init__(self, database: Database, channel: Channel, clients: int) -> None:
        self.database = database
        self.channel = channel
        self.campaign = database.run(lambda s: add_campaign(s, clients=clients, channel=channel))
        self.given: Counter[int] = Counter()
        self._lock = threading.Lock()

    def start(self, *, batch_size: int = 4) -> int:
        return self.database.run(lambda s: prepared(s, self.campaign, batch_size=batch_size).id)

    def claim(self, execution_id: int) -> ClaimedBatch:
        batch = self.database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE))
        assert batch is not None
        return batch

    def send(self, batch: ClaimedBatch) -> set[int]:
        """Commit `sending` and hand the messages over."""
        sent = self.database.run(lambda s: to_sending(s, batch))
        with self._lock:
            self.given.update(sent)
        return sent

    def sending(self) -> tuple[int, ClaimedBatch, list[int]]:
        """A new execution with its only batch in `sending`."""
        execution_id = self.start()
        batch = self.claim(execution_id)
        return execution_id, batch, sorted(self.send(batch))

    def accept(self, session: Session, batch: ClaimedBatch) -> None:
        if self.channel is Channel.EMAIL:
            ledger.accept_batch(session, batch, "X-1")
            return
        ids = dict.fromkeys(range(batch.first_message_id, batch.last_message_id + 1), "id")
        record_sms(session, batch, accepted=ids)

    def finish(self, execution_id: int) -> dict[str, int]:
        """Bring it to its end; the counts per state before that, which add up then and now."""
        before = self.states(execution_id)
        accepted = self._in_state(execution_id, MessageState.ACCEPTED)
        self.database.run(lambda s: s.execute(_own(execution_id).values(not_before=None)))
        held = Batch.state.in_([BatchState.CLAIMED, BatchState.SENDING])
        self.database.run(lambda s: s.execute(_own(execution_id).where(held).values(lease_until=utc_in(-1))))
        self.database.run(lambda s: leases.release_expired_claims(s, execution_id))
        self.database.run(lambda s: leases.expire_sending(s, execution_id))
        while batch := self.database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)):
            sent = self.send(batch)
            assert not sent & accepted, "handed out, though it is known to be accepted"
            if sent:
                self.database.run(partial(self.accept, batch=batch))
        state = self.database.run(lambda s: executions.settle_execution(s, execution_id))
        after = self.states(execution_id)
        assert not after.keys() & {"pending", "sending"}, f"nobody will ever send {after}"
        is_settling = state is ExecutionState.SETTLING
        assert is_settling == ("unknown" in after) or state is ExecutionState.CANCELLED
        return before

    def states(self, execution_id: int) -> dict[str, int]:
        """Counts per state, after checking that they equal a recount (I6) and that they add up (I2)."""
        with self.database.reading() as s:
            counts, fresh = get_counts(s, execution_id), recount(s, execution_id)
        assert counts == fresh
        per_state = {state.value: counts.messages[state.value] for state in MessageState}
        assert sum(per_state.values()) == counts.messages["intended"]
        return {state: count for state, count in per_state.items() if count}

    def _in_state(self, execution_id: int, state: MessageState) -> set[int]:
        with self.database.reading() as s:
            own = select(Message.id).where(Message.execution_id == execution_id, Message.state == state)
            return set(s.scalars(own))


def _own(execution_id: int) -> Any:
    return update(Batch).where(Batch.execution_id == execution_id)


def record_sms(
    session: Session, batch: ClaimedBatch, *, accepted: dict[int, str], unknown: tuple[int, ...] = ()
) -> None:
    ledger.record_sms(
        session,
        batch,
        accepted=accepted,
        failed={},
        unknown=unknown,
        retry_delay=0,
        error=None,
    )


def meet(*works: Callable[[], Any]) -> list[Any]:
    """Let them begin together; returns what each returned. A stale token or a conflict is an answer too."""
    barrier = threading.Barrier(len(works))
    answers: list[Any] = [None] * len(works)

    def begin(place: int, work: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            answers[place] = work()
        except Exception as error:
            answers[place] = error

    threads = [threading.Thread(target=begin, args=(place, work)) for place, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, StaleToken | Conflict):
            raise answer
    return answers


@contextmanager
def waiting_for_us(database: Database, work: Work) -> Iterator[list[Any]]:
    """Within a transaction that holds what `work` wants: goes on when the database says that `work` waits, and after the block
    waits for its end. The list then has what it returned."""
    connections: list[int] = []
    answers: list[Any] = []

    def begin(session: Session) -> Any:
        connections.append(session.execute(text("SELECT CONNECTION_ID()")).scalar_one())
        return work(session)

    def run() -> None:
        try:
            answers.append(database.run(begin))
        except (StaleToken, Conflict) as error:
            answers.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (connections and _waits(database, connections[-1])):
        assert thread.is_alive(), "it did not wait for any lock"
        assert time.monotonic() < deadline, "it waits for something else"
        time.sleep(0.02)
    yield answers
    thread.join()


def _waits(database: Database, connection_id: int) -> bool:
    """Asked of the engine's own status: `information_schema.innodb_trx` is a cache that InnoDB refreshes only when nobody has
    read it for 100 ms, so who polls it may see one old state for as long as they poll."""
    with database.reading() as s:
        status: str = s.execute(text("SHOW ENGINE INNODB STATUS")).one()[2]
    transactions = status.split("---TRANSACTION ")
    return any("LOCK WAIT" in one and f"thread id {connection_id}," in one for one in transactions)


def suppression(database: Database, message_id: int, channel: Channel) -> SuppressionChange:
    with database.reading() as s:
        address = s.scalars(select(Message.address).where(Message.id == message_id)).one()
    assert address is not None
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return SuppressionChange(channel, address, SuppressionReason.MANUAL, when, "test")


class TestEvidence:
    """A signed event about a message, while somebody writes what became of its batch."""

    @pytest.mark.parametrize("what", ["accept", "return", "unknown", "refuse", "expire"])
    def test_it_is_counted_once_whatever_else_is_recorded(self, database: Database, what: str) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        for _ in range(ROUNDS):
            execution_id, batch, ids = campaigns.sending()
            writes: dict[str, Work] = {
                "accept": lambda s, b=batch: ledger.accept_batch(s, b, "X-1"),  # type: ignore[misc]
                "return": lambda s, b=batch: ledger.return_batch(s, b, error="429", delay_seconds=0),  # type: ignore[misc]
                "unknown": lambda s, b=batch: ledger.leave_unknown(s, b, error="reset"),  # type: ignore[misc]
                "refuse": lambda s, b=batch, i=ids: ledger.refuse_messages(s, b, {i[0]: "refused: x"}),  # type: ignore[misc]
                "expire": partial(leases.expire_sending, execution_id=execution_id),
            }
            if what == "expire":
                database.run(lambda s: s.execute(update(Batch).values(lease_until=utc_in(-1))))
            proven = dict.fromkeys(ids[1:3], Feedback.DELIVERED)
            meet(partial(database.run, writes[what]), partial(database.run, partial(_prove, bits=proven)))
            before = campaigns.finish(execution_id)
            assert before["accepted"] >= 2
            assert all(campaigns.given[message] == 1 for message in proven)

    def test_it_is_counted_once_while_the_batch_is_committed_and_sent(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        for _ in range(ROUNDS):
            execution_id = campaigns.start()
            batch = campaigns.claim(execution_id)
            proven = {batch.first_message_id: Feedback.OPENED, batch.last_message_id: Feedback.DELIVERED}
            meet(
                partial(campaigns.send, batch),
                partial(database.run, partial(_prove, bits=proven)),
                partial(database.run, partial(_prove, bits=proven)),
            )
            assert campaigns.finish(execution_id)["accepted"] == 2

    def test_sms_are_recorded_with_a_mixture_of_outcomes(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.SMS, 4)
        for _ in range(ROUNDS):
            execution_id, batch, ids = campaigns.sending()
            record = partial(record_sms, batch=batch, accepted={ids[0]: "1"}, unknown=(ids[1],))
            proven = dict.fromkeys(ids, Feedback.DELIVERED)
            meet(partial(database.run, record), partial(database.run, partial(_prove, bits=proven)))
            assert campaigns.finish(execution_id) == {"accepted": 4}
            assert all(campaigns.given[message] == 1 for message in ids)

    def test_sms_that_were_not_taken_are_counted_when_nobody_else_writes(self, database: Database) -> None:
        """The evidence holds the batch when the outcome is about to be recorded."""
        campaigns = Campaigns(database, Channel.SMS, 4)
        execution_id, batch, ids = campaigns.sending()
        record = partial(record_sms, batch=batch, accepted={ids[0]: "1"})
        with database.transaction() as s:
            apply_feedback(s, {ids[1]: Feedback.DELIVERED})
            with waiting_for_us(database, record):
                s.commit()
        assert campaigns.finish(execution_id) == {"accepted": 2, "pending": 2}

    def test_a_message_that_became_unknown_meanwhile_is_not_counted_as_being_sent(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the first look its batch is recorded, claimed by others, and sent for its other messages."""
        campaigns = Campaigns(database, Channel.SMS, 4)
        execution_id, batch, ids = campaigns.sending()
        hold, meanwhile = transitions.hold, [partial(record_sms, batch=batch, accepted={}, unknown=(ids[0],))]

        def record_before_hold(session: Session, batch_ids: Collection[int]) -> dict[int, BatchState]:
            while meanwhile:
                database.run(meanwhile.pop())
                assert campaigns.send(campaigns.claim(execution_id)) == set(ids[1:])
            return hold(session, batch_ids)

        monkeypatch.setattr(transitions, "hold", record_before_hold)
        database.run(lambda s: apply_feedback(s, {ids[0]: Feedback.DELIVERED}))
        assert campaigns.states(execution_id) == {"accepted": 1, "sending": 3}


class TestPeople:
    """Decisions of people, while batches are on their way."""

    def test_a_batch_is_sent_or_cancelled(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        for _ in range(ROUNDS):
            execution_id = campaigns.start(batch_size=2)
            batch = campaigns.claim(execution_id)
            cancel = partial(executions.cancel_execution, execution_id=execution_id)
            sent, _ = meet(partial(campaigns.send, batch), partial(database.run, cancel))
            assert len(sent) in (0, 2)
            after = {"cancelled": 4 - len(sent), **({"sending": 2} if sent else {})}
            assert campaigns.states(execution_id) == after
            if sent:
                database.run(lambda s, b=batch: ledger.return_batch(s, b, error="429", delay_seconds=0))  # type: ignore[misc]
                assert campaigns.states(execution_id) == {"cancelled": 4}

    def test_a_batch_that_waits_for_the_cancelling_is_not_sent(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        execution_id = campaigns.start()
        batch = campaigns.claim(execution_id)
        with database.transaction() as s:
            executions.cancel_execution(s, execution_id)
            with waiting_for_us(database, lambda other: to_sending(other, batch)) as sent:
                s.commit()
        assert sent == [set()]
        assert campaigns.states(execution_id) == {"cancelled": 4}

    def test_the_cancelling_waits_for_a_batch_and_leaves_it_alone(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        execution_id = campaigns.start(batch_size=2)
        batch = campaigns.claim(execution_id)
        cancel = partial(executions.cancel_execution, execution_id=execution_id)
        with database.transaction() as s:
            assert len(to_sending(s, batch)) == 2
            with waiting_for_us(database, cancel):
                s.commit()
        assert campaigns.states(execution_id) == {"cancelled": 2, "sending": 2}

    def test_a_message_that_is_proven_is_not_sent_again(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        for _ in range(ROUNDS):
            execution_id, batch, ids = campaigns.sending()
            database.run(lambda s, b=batch: ledger.leave_unknown(s, b, error="reset"))  # type: ignore[misc]
            proven = dict.fromkeys(ids[:2], Feedback.DELIVERED)
            again = partial(resend, execution_id=execution_id)
            meet(partial(database.run, again), partial(database.run, partial(_prove, bits=proven)))
            assert campaigns.finish(execution_id) == {"accepted": 2, "pending": 2}
            assert [campaigns.given[message] for message in ids] == [1, 1, 2, 2]

    def test_a_resend_that_waits_for_the_evidence_leaves_the_proven_out(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        execution_id, batch, ids = campaigns.sending()
        database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
        with database.transaction() as s:
            apply_feedback(s, {ids[0]: Feedback.DELIVERED})
            with waiting_for_us(database, lambda other: resend(other, execution_id)) as decided:
                s.commit()
        assert decided[0].messages == 3
        assert campaigns.finish(execution_id) == {"accepted": 1, "pending": 3}

    def test_a_batch_that_a_resend_is_about_to_fill_is_not_claimed_before(self, database: Database) -> None:
        """It would be read without the messages that are sent again."""
        campaigns = Campaigns(database, Channel.SMS, 4)
        execution_id, batch, ids = campaigns.sending()
        database.run(partial(record_sms, batch=batch, accepted={}, unknown=(ids[0],)))
        with database.transaction() as s:
            assert resend(s, execution_id).messages == 1
            claimed = database.run(lambda other: ledger.claim_batch(other, execution_id, lease_seconds=LEASE))
            assert claimed is None
        assert campaigns.send(campaigns.claim(execution_id)) == set(ids)


class TestSuppressions:
    """I3: after a suppression commits, no batch commits `sending` with its address."""

    def test_a_suppression_precedes_the_batch_or_follows_it(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        hits: Counter[bool] = Counter()
        for number in range(ROUNDS):
            execution_id = campaigns.start()
            batch = campaigns.claim(execution_id)
            stopped = batch.first_message_id + number % 4
            suppress = partial(_suppress, batch=batch, change=suppression(database, stopped, Channel.EMAIL))
            sent, is_first = meet(partial(campaigns.send, batch), partial(database.run, suppress))
            assert (stopped in sent) != is_first
            hits[is_first] += 1
            campaigns.finish(execution_id)
            database.run(lambda s: s.execute(delete(Unsubscribed)))
        assert sum(hits.values()) == ROUNDS

    def test_a_batch_waits_for_a_suppression_that_is_about_to_commit(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        execution_id = campaigns.start()
        batch = campaigns.claim(execution_id)
        change = suppression(database, batch.first_message_id, Channel.EMAIL)
        with database.transaction() as s:
            apply_suppressions(s, [change])
            with waiting_for_us(database, lambda other: to_sending(other, batch)) as sent:
                s.commit()
        assert sent == [set(range(batch.first_message_id + 1, batch.last_message_id + 1))]
        assert campaigns.states(execution_id) == {"excluded": 1, "sending": 3}

    def test_a_suppression_waits_for_a_batch_that_is_about_to_commit(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 4)
        execution_id = campaigns.start()
        batch = campaigns.claim(execution_id)
        change = suppression(database, batch.first_message_id, Channel.EMAIL)
        with database.transaction() as s:
            assert len(to_sending(s, batch)) == 4
            with waiting_for_us(database, lambda other: _suppress(other, batch, change)) as is_first:
                s.commit()
        assert is_first == [False]


class TestLanes:
    """Several workers at one execution."""

    def test_no_two_lanes_claim_the_same_batch(self, database: Database) -> None:
        campaigns = Campaigns(database, Channel.EMAIL, 24)
        for _ in range(5):
            execution_id = campaigns.start(batch_size=1)
            claimed: list[tuple[int, int]] = []

            def lane(execution_id: int = execution_id, claimed: list[tuple[int, int]] = claimed) -> None:
                while batch := database.run(
                    lambda s: ledger.claim_batch(s, execution_id, lease_seconds=LEASE)
                ):
                    claimed.append((batch.id, batch.token))
                    if campaigns.send(batch):
                        database.run(partial(campaigns.accept, batch=batch))

            meet(lane, lane, lane)
            assert len(claimed) == len(set(claimed)) == 24
            assert {token for _, token in claimed} == {1}
            assert campaigns.finish(execution_id) == {"accepted": 24}
        assert set(campaigns.given.values()) == {1}

    @pytest.mark.slow
    @pytest.mark.parametrize("channel", list(Channel))
    def test_all_of_it_at_once(self, database: Database, channel: Channel) -> None:
        """Two lanes with all outcomes, dead holders, evidence, suppressions, and a person who cannot decide."""
        campaigns = Campaigns(database, channel, 16)
        for seed in range(4):
            database.run(lambda s: s.execute(delete(Unsubscribed)))
            execution_id = campaigns.start(batch_size=4)
            storm = Storm(campaigns, execution_id, random.Random(seed))
            meet(storm.lane, storm.lane, storm.evidence, storm.person, storm.time, storm.suppressions)
            campaigns.finish(execution_id)
            with database.reading() as s:
                proven = s.scalars(
                    select(Message.id).where(Message.id.in_(storm.proven), Message.feedback > 0)
                )
                assert set(proven) == storm.proven
            for message in storm.ids:
                assert campaigns.given[message] <= 1 + storm.returned[message] + storm.resends


class Storm:
    """What may happen to one execution, each thing in a thread of its own, 30 times."""

    TURNS = 30

    def __init__(self, campaigns: Campaigns, execution_id: int, chance: random.Random) -> None:
        self.campaigns, self.execution_id, self.chance = campaigns, execution_id, chance
        self.database = campaigns.database
        self.proven: set[int] = set()
        self.returned: Counter[int] = Counter()
        self.resends = 0
        with self.database.reading() as s:
            own = Message.execution_id == execution_id
            self.ids = list(s.scalars(select(Message.id).where(own).order_by(Message.id)))

    def lane(self) -> None:
        for _ in range(self.TURNS):
            batch = self._try(lambda s: ledger.claim_batch(s, self.execution_id, lease_seconds=LEASE))
            if batch is None:
                continue
            try:
                known = set(self.proven)
                sent = self.campaigns.send(batch)
                assert not sent & known, "handed out, though it is known to be accepted"
                if sent:
                    self._record(batch, sent)
            except StaleToken:
                continue

    def _record(self, batch: ClaimedBatch, sent: set[int]) -> None:
        outcome = self.chance.randrange(4)
        some = {message: "id" for message in sent if self.chance.random() < 0.3}
        if outcome == 0:
            self.database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
        elif outcome == 1:
            self.database.run(lambda s: ledger.return_batch(s, batch, error="429", delay_seconds=0))
            self.returned.update(sent)
        elif outcome == 2 and self.campaigns.channel is Channel.SMS:
            doubtful = tuple(message for message in sent - some.keys() if self.chance.random() < 0.5)
            self.database.run(partial(record_sms, batch=batch, accepted=some, unknown=doubtful))
            self.returned.update(sent - some.keys() - set(doubtful))
        else:
            self.database.run(partial(self.campaigns.accept, batch=batch))

    def evidence(self) -> None:
        for _ in range(self.TURNS):
            about = dict.fromkeys(self.chance.sample(self.ids, 2), Feedback.DELIVERED)
            if len(self.proven) < len(self.ids) // 2:
                self.database.run(partial(_prove, bits=about))
                self.proven |= about.keys()

    def person(self) -> None:
        for _ in range(self.TURNS):
            decide = self.chance.choice([self._pause, self._resume, self._resend, self._settle])
            decide()
        self._resume()

    def time(self) -> None:
        for _ in range(self.TURNS):
            own = Batch.execution_id == self.execution_id
            with self.database.reading() as s:
                key = self.chance.choice(list(s.scalars(select(Batch.id).where(own))))
            late = update(Batch).where(Batch.id == key).values(lease_until=utc_in(-1))
            self.database.run(lambda s, late=late: s.execute(late))  # type: ignore[misc]
            self.database.run(lambda s: leases.release_expired_claims(s, self.execution_id))
            self.database.run(lambda s: leases.expire_sending(s, self.execution_id))

    def suppressions(self) -> None:
        for _ in range(2):
            change = suppression(self.database, self.chance.choice(self.ids), self.campaigns.channel)
            self.database.run(lambda s, change=change: apply_suppressions(s, [change]))  # type: ignore[misc]

    def _pause(self) -> None:
        self._try(lambda s: executions.pause_execution(s, self.execution_id, reason="a person"))

    def _resume(self) -> None:
        self._try(lambda s: executions.resume_execution(s, self.execution_id))

    def _resend(self) -> None:
        self.resends += self._try(lambda s: resend(s, self.execution_id)) is not None

    def _settle(self) -> None:
        self._try(lambda s: executions.settle_execution(s, self.execution_id))

    def _try(self, work: Work) -> Any:
        try:
            return self.database.run(work)
        except Conflict:
            return None


def _prove(session: Session, bits: dict[int, Feedback]) -> None:
    apply_feedback(session, bits)


def _suppress(session: Session, batch: ClaimedBatch, change: SuppressionChange) -> bool:
    """Whether the suppression is first: with the gate in our hands, the batch is not `sending` yet."""
    apply_suppressions(session, [change])
    state = session.scalars(select(Batch.state).where(Batch.id == batch.id)).one()
    return state is BatchState.CLAIMED
