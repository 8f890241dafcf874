"""The ledger against its model: any order of claims, outcomes, deaths, evidence and people's decisions.

An email and an SMS execution over the same clients, any number of holders, and people. After each step the ledger has to be
where the model is (`tests/ledger_model.py`), and the counts have to equal a recount. What the ledger hands out is also given to a
provider who knows what he has: he takes nothing twice. `ICS_MACHINE_EXAMPLES=1000` looks further than a run of the suite.
"""

import os
import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, insert, inspect, select, update
from sqlalchemy.orm import Session

from db.base import Base
from db.dialect import utc_in
from db.engine import Database
from db.errors import Conflict, StaleToken
from db.models import (
    Approval,
    Batch,
    ClientListMember,
    FailedJob,
    FlowExecution,
    Message,
    SendmodeStats,
    Stats,
    Unsubscribed,
)
from db.models.suppressions import EVERYWHERE
from db.queries import clients, executions, failed_jobs, leases, ledger, unknown
from db.queries.feedback import apply_feedback
from db.queries.recount import recount
from db.queries.splitting import split_batch
from db.queries.stats import get_counts
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.queries.transitions import ClaimedBatch
from db.queries.unknown import Decision
from db.states import (
    BatchState,
    Channel,
    Exclusion,
    ExecutionState,
    Feedback,
    JobState,
    MessageState,
    SuppressionReason,
)
from tests.builders import add_campaign, add_clients, empty, prepared
from tests.ledger_model import (
    OPEN,
    LedgerModel,
    ModelBatch,
    ModelSuppressions,
)

# Read here: no test sees variables of the machine.
GIVEN_EXAMPLES = os.environ.get("ICS_MACHINE_EXAMPLES")
EXAMPLES = int(GIVEN_EXAMPLES or 60)
STEPS = 30
CLIENTS = 12
LEASE = 600
HOUR = 3600
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
# SMS batches have more ends than those of email.
CHANNELS = [[Channel.SMS], [Channel.EMAIL], [Channel.SMS], [Channel.EMAIL, Channel.SMS]]
AN_HOUR = timedelta(hours=1)
ADA = Decision("Ada", 1, before_evidence_window=True)
# What a write may change. A holder who has no right to it changes none of it.
WRITTEN: tuple[type[Base], ...] = (
    Message,
    Batch,
    FlowExecution,
    Stats,
    SendmodeStats,
    FailedJob,
    Approval,
    Unsubscribed,
)

choice = st.integers(0, 999)
delay = st.sampled_from([0, HOUR])
one = st.integers(0, CLIENTS - 1)
some = st.sets(one, max_size=CLIENTS)
bits = st.sampled_from([Feedback.PROCESSED, Feedback.DELIVERED, Feedback.BOUNCED, Feedback.OPENED])
LANES = (0, 1, 2)
lanes = st.sampled_from(LANES)
outcomes = choice.map(lambda seed: random.Random(seed).choices(range(4), k=CLIENTS))
Write = Callable[[Session], Any]


@dataclass
class Run:
    """An execution and its model. `ids` are its messages in the order of the clients."""

    id: int
    channel: Channel
    ids: list[int]
    model: LedgerModel

    def at(self, places: set[int]) -> set[int]:
        return {self.ids[place] for place in places}


@dataclass
class Holder:
    """A worker that claimed a batch and read it. What became of the batch since then he does not know."""

    run: Run
    batch: ClaimedBatch
    read: set[int] = field(default_factory=set)
    excluded: Mapping[int, Exclusion] = field(default_factory=dict)

    @property
    def model_batch(self) -> ModelBatch:
        return self.run.model.batches[self.batch.id]

    def may_write(self, state: BatchState) -> bool:
        return self.model_batch.is_held_by(self.batch.token, state)


Step = Callable[[Holder], Any]
Decide = Callable[[Run], bool]


class LedgerMachine(RuleBasedStateMachine):
    """Each rule does one thing to the ledger and the same to the model."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[Run] = []
        self.holders: list[Holder] = []
        self.lanes: dict[int, Holder] = {}
        self.suppressions = ModelSuppressions()

    @initialize(
        channels=st.sampled_from(CHANNELS),
        batch_size=st.sampled_from([3, 2, 4, 1]),
        history=st.lists(outcomes, max_size=3),
    )
    def begin(self, channels: list[Channel], batch_size: int, history: list[list[int]]) -> None:
        """In the middle of an execution, some batches of which have an outcome already."""
        empty(self.database.engine)
        client_ids = self.database.run(lambda s: add_clients(s, CLIENTS))
        self.clients: list[int | None] = list(client_ids)
        for channel in channels:
            execution_id, flow_id = self.database.run(
                partial(_begin, channel=channel, client_ids=client_ids, batch_size=batch_size)
            )
            with self.database.reading() as s:
                rows = s.execute(
                    select(Message.id, Message.address)
                    .where(Message.execution_id == execution_id)
                    .order_by(Message.client_id)
                ).all()
            ids = [row.id for row in rows]
            batches = {key: ModelBatch(mine) for key, mine in self._members(execution_id, ids).items()}
            addresses = {row.id: row.address for row in rows}
            model = LedgerModel(channel, flow_id, addresses, batches, self.suppressions)
            self.runs.append(Run(execution_id, channel, ids, model))
        for number, each in enumerate(history):
            self._send_a_batch(number % len(LANES), number, each)

    # What workers do. What a step is depends on where the batch of the lane is, so that each of them leads somewhere.

    @rule(lane=lanes, which=choice, how=choice, who=some, outcomes=outcomes, delay=delay)
    def a_lane_goes_on(
        self, lane: int, which: int, how: int, who: set[int], outcomes: list[int], delay: int
    ) -> None:
        holder = self.lanes.get(lane)
        steps: list[Step]
        if holder is not None and holder.may_write(BatchState.CLAIMED):
            failing = who if how % 3 == 0 else set()
            commit = partial(self._commit, failing=failing, reads_again=how % 5 == 0)
            steps = [self._give_up, partial(self._give_back, delay=delay), partial(self._cut, who=who)]
            self._one_of(how, commit, steps)(holder)
        elif holder is not None and holder.may_write(BatchState.SENDING):
            steps = [self._accept, self._leave_unknown, partial(self._take_back, delay=delay)]
            if holder.run.channel is Channel.SMS:
                self._one_of(how, partial(self._record_sms, outcomes=outcomes, delay=delay), steps)(holder)
            else:
                self._one_of(how, partial(self._refuse, who=who), steps)(holder)
        else:
            self._claim(self._run(which), lane)

    @rule(lane=lanes, which=choice, commits=st.booleans())
    def a_lane_takes_a_batch(self, lane: int, which: int, commits: bool) -> None:
        """The usual way in one step, so that what comes after it is reached often."""
        holder = self._claim(self._run(which), lane)
        if commits and holder is not None:
            self._commit(holder, failing=set(), reads_again=False)

    @rule(lane=lanes, which=choice, outcomes=outcomes)
    def a_lane_sends_a_batch(self, lane: int, which: int, outcomes: list[int]) -> None:
        self._send_a_batch(lane, which, outcomes)

    @precondition(lambda self: self.without_right())
    @rule(which=choice)
    def a_holder_writes_what_he_may_not(self, which: int) -> None:
        """He slept, or wrote it already: nothing changes."""
        writes = self.without_right()
        write = writes[which % len(writes)]
        before = self._dump()
        with pytest.raises(StaleToken):
            self.database.run(write)
        assert self._dump() == before

    # What time does.

    @precondition(lambda self: any(run.model.held() for run in self.runs))
    @rule(which=choice, is_noticed=st.booleans())
    def a_lease_runs_out(self, which: int, is_noticed: bool) -> None:
        """Unless that is noticed, the holder may still write: nobody decided otherwise."""
        held = [(run, key) for run in self.runs for key in run.model.held()]
        run, key = held[which % len(held)]
        self._run_out(run, key)
        if is_noticed:
            self._close_late_batches(run)

    @precondition(lambda self: any(run.model.late() or run.model.waiting() for run in self.runs))
    @rule()
    def time_passes(self) -> None:
        """For batches that wait, and for those whose lease ran out."""
        for run in self.runs:
            self._close_late_batches(run)
            self._end_of_waiting(run)

    # What comes in from outside.

    @rule(which=choice, who=st.dictionaries(one, bits, min_size=1, max_size=2), copies=st.integers(1, 2))
    def evidence(self, which: int, who: dict[int, Feedback], copies: int) -> None:
        run = self._run(which)
        about = {run.ids[place]: bit for place, bit in who.items()}
        for _ in range(copies):
            self.database.run(lambda s: apply_feedback(s, about))
        for message, bit in about.items():
            run.model.evidence(message, bit)

    @rule(which=choice, who=one, active=st.booleans(), is_for_flow=st.booleans(), minute=st.integers(0, 31))
    def a_client_leaves_or_comes_back(
        self, which: int, who: int, active: bool, is_for_flow: bool, minute: int
    ) -> None:
        """By a suppression or a lift, which may come late, and seldom for ever: then there is less to see."""
        client = self.clients[who]
        if minute == 31 and client is not None:
            self.database.run(lambda s: clients.delete_client(s, client))
            self.clients[who] = None
            return
        run = self._run(which)
        address = run.model.addresses[run.ids[who]]
        scope = run.model.flow_id if is_for_flow else EVERYWHERE
        change = SuppressionChange(
            run.channel,
            address,
            SuppressionReason.MANUAL,
            NOON + timedelta(minutes=minute),
            "machine",
            active=active,
            scope=scope,
        )
        self.database.run(lambda s: apply_suppressions(s, [change]))
        self.suppressions.apply((run.channel, address, scope), minute, active)

    # What people decide.

    @rule(which=choice, what=choice)
    def a_person_decides(self, which: int, what: int) -> None:
        """Most of the time what can be done, else anything. Cancelling is seldom: not much comes after it."""
        run, decisions = self._run(which), self.decisions()
        if what % 8 == 7:
            self._cancel(run)
        elif what % 4 == 0:
            self._settle(run)
        elif what % 4 == 1 or not decisions:
            tried = (self._pause, self._resume, self._resend, self._write_off, self._retry)
            tried[what // 4 % len(tried)](run)
        else:
            decide, run = decisions[what // 4 % len(decisions)]
            assert decide(run), "refused, though nothing speaks against it"

    # What always holds.

    @invariant()
    def the_ledger_is_where_the_model_is(self) -> None:
        for run in self.runs:
            with self.database.reading() as s:
                rows = executions.list_messages(s, run.id, after=0, limit=100).items
                batches = s.execute(
                    select(Batch.id, Batch.state, Batch.token).where(Batch.execution_id == run.id)
                ).all()
                counts, fresh = get_counts(s, run.id), recount(s, run.id)
                state = executions.get_execution(s, run.id).state
            assert {row.id: row.state for row in rows} == run.model.messages
            assert {row.id: row.feedback for row in rows} == run.model.feedback
            assert {row.id: (row.state, row.token) for row in batches} == {
                key: (batch.state, batch.token) for key, batch in run.model.batches.items()
            }
            assert state is run.model.state
            assert counts == fresh
            assert counts.messages["intended"] == sum(counts.messages[each] for each in MessageState)
            assert counts.messages["intended"] == CLIENTS
            if state is ExecutionState.COMPLETED:
                assert not any(counts.messages[each] for each in (*OPEN, MessageState.UNKNOWN))

    def teardown(self) -> None:
        """A worker that does all as it should brings everything to an end: nobody is left behind."""
        if sys.exc_info()[0] is not None:
            return
        for run in self.runs:
            self._drain(run)
            self.the_ledger_is_where_the_model_is()
            assert not run.model.of(*OPEN)
            assert run.model.state in (
                ExecutionState.COMPLETED,
                ExecutionState.SETTLING,
                ExecutionState.CANCELLED,
            )

    def without_right(self) -> list[Write]:
        """Everything that holders could write and may not."""
        return [
            write
            for holder in self.holders
            for state, writes in _writes(holder).items()
            if not holder.may_write(state)
            for write in writes
        ]

    def decisions(self) -> list[tuple[Decide, Run]]:
        """What a person may do now about unknown messages, failed jobs and pauses."""
        found: list[tuple[Decide, Run]] = []
        for run in self.runs:
            if run.model.may_resend():
                found += [(self._resend, run)] * 3 + [(self._write_off, run)]
            if run.model.may_retry():
                found += [(self._retry, run)]
            if run.model.state is ExecutionState.PAUSED:
                found += [(self._resume, run)]
        return found

    def _drain(self, run: Run) -> None:
        if run.model.state is ExecutionState.PAUSED:
            self._resume(run)
        for key in run.model.held():
            self._run_out(run, key)
        self._close_late_batches(run)
        self._end_of_waiting(run)
        while holder := self._claim(run, lane=0):
            if self._commit(holder, failing=set(), reads_again=False):
                self._accept(holder)
            assert holder.model_batch.state is BatchState.DONE
        self._settle(run)

    def _claim(self, run: Run, lane: int) -> Holder | None:
        batch = self.database.run(lambda s: ledger.claim_batch(s, run.id, lease_seconds=LEASE))
        assert (batch.id if batch else None) == run.model.next_due()
        if batch is None:
            return None
        run.model.claim(batch.id)
        holder = self.lanes[lane] = Holder(run, batch)
        self.holders.append(holder)
        self._read(holder)
        return holder

    def _send_a_batch(self, lane: int, which: int, outcomes: list[int]) -> None:
        holder = self._claim(self._run(which), lane)
        if holder is None or not self._commit(holder, failing=set(), reads_again=False):
            return
        if holder.run.channel is Channel.SMS:
            self._record_sms(holder, outcomes=outcomes, delay=0)
        elif outcomes[0] % 2:
            self._leave_unknown(holder)
        else:
            self._accept(holder)

    def _commit(self, holder: Holder, *, failing: set[int], reads_again: bool) -> set[int]:
        if reads_again:
            self._read(holder)
        run = holder.run
        failed = (holder.read - holder.excluded.keys()) & run.at(failing)
        suppressed = {message for message in run.ids if run.model.is_suppressed(message)}
        sent = self.database.run(partial(_commit, holder=holder, failed=failed))
        assert not sent & suppressed, "a suppression that was committed is passed over"
        run.model.provider.give(sent)
        assert sent == run.model.commit(holder.batch.id, holder.read, failed=failed, excluded=holder.excluded)
        return sent

    def _accept(self, holder: Holder) -> None:
        """The provider took all of it, in one request or in as many as there are messages."""
        if holder.run.channel is Channel.SMS:
            self._record_sms(holder, outcomes=[0] * CLIENTS, delay=0)
            return
        self.database.run(lambda s: ledger.accept_batch(s, holder.batch, "X-1"))
        holder.run.model.accept(holder.batch.id)

    def _take_back(self, holder: Holder, *, delay: int) -> None:
        self.database.run(lambda s: ledger.return_batch(s, holder.batch, error="429", delay_seconds=delay))
        holder.run.model.take_back(holder.batch.id, waits=delay > 0)

    def _refuse(self, holder: Holder, *, who: set[int]) -> None:
        """Nothing was taken, because of some who are refused for good."""
        refused = holder.run.at(who) & set(holder.model_batch.ids)
        reasons = dict.fromkeys(refused, "refused: x")
        self.database.run(lambda s: ledger.refuse_messages(s, holder.batch, reasons))
        holder.run.model.take_back(holder.batch.id, refused=refused)

    def _leave_unknown(self, holder: Holder) -> None:
        self.database.run(lambda s: ledger.leave_unknown(s, holder.batch, error="reset"))
        holder.run.model.leave_unknown(holder.batch.id)

    def _record_sms(self, holder: Holder, *, outcomes: list[int], delay: int) -> None:
        """One request for each, and each with an outcome of its own: accepted, unknown, refused or not taken."""
        by_outcome: list[set[int]] = [set(), set(), set(), set()]
        for message, outcome in zip(holder.run.ids, outcomes, strict=True):
            if message in holder.model_batch.ids:
                by_outcome[outcome].add(message)
        accepted, doubtful, refused, _ = by_outcome
        self.database.run(
            lambda s: ledger.record_sms(
                s,
                holder.batch,
                accepted=dict.fromkeys(accepted, "id"),
                failed=dict.fromkeys(refused, "refused: x"),
                unknown=doubtful,
                retry_delay=delay,
                error=None,
            )
        )
        holder.run.model.record(
            holder.batch.id, accepted=accepted, failed=refused, unknown=doubtful, waits=delay > 0
        )

    def _give_up(self, holder: Holder) -> None:
        self.database.run(lambda s: ledger.give_up_batch(s, holder.batch, error="always 429"))
        holder.run.model.give_up(holder.batch.id)

    def _give_back(self, holder: Holder, *, delay: int) -> None:
        self.database.run(lambda s: ledger.give_back_claim(s, holder.batch, delay_seconds=delay))
        holder.run.model.give_back(holder.batch.id, waits=delay > 0)

    def _cut(self, holder: Holder, *, who: set[int]) -> None:
        """Some of the batch have to travel alone."""
        run, key = holder.run, holder.batch.id
        still_open, mine = run.model.open_in(key), set(holder.model_batch.ids)
        alone = run.at(who) & still_open
        self.database.run(lambda s: split_batch(s, holder.batch, alone))
        others = run.model.batches.keys() - {key}
        members = self._members(run.id, run.ids)
        pieces = {piece: sorted(mine & set(ids)) for piece, ids in members.items() if piece not in others}
        assert mine == {message for ids in pieces.values() for message in ids}
        for ids in pieces.values():
            assert not alone & set(ids) or len(still_open & set(ids)) == 1
        run.model.cut(key, pieces)

    def _run_out(self, run: Run, key: int) -> None:
        self.database.run(
            lambda s: s.execute(update(Batch).where(Batch.id == key).values(lease_until=utc_in(-1)))
        )
        run.model.batches[key].is_late = True

    def _close_late_batches(self, run: Run) -> None:
        released = self.database.run(lambda s: leases.release_expired_claims(s, run.id))
        assert released == run.model.release_late_claims()
        expired = self.database.run(lambda s: leases.expire_sending(s, run.id))
        assert expired == run.model.expire_sending()

    def _end_of_waiting(self, run: Run) -> None:
        own = Batch.execution_id == run.id
        self.database.run(lambda s: s.execute(update(Batch).where(own).values(not_before=None)))
        for batch in run.model.waiting():
            batch.waits = False

    def _pause(self, run: Run) -> bool:
        may = run.model.state is ExecutionState.SENDING
        if self._decided(lambda s: executions.pause_execution(s, run.id, reason="a person"), may=may):
            run.model.state = ExecutionState.PAUSED
        return may

    def _resume(self, run: Run) -> bool:
        may = run.model.state is ExecutionState.PAUSED
        if self._decided(lambda s: executions.resume_execution(s, run.id), may=may):
            run.model.state = ExecutionState.SENDING
        return may

    def _cancel(self, run: Run) -> bool:
        may = not run.model.state.is_final
        if self._decided(lambda s: executions.cancel_execution(s, run.id), may=may):
            run.model.cancel()
        return may

    def _resend(self, run: Run) -> bool:
        again, may = run.model.decidable(), run.model.may_resend()
        done = self._decided(lambda s: unknown.resend_unknown(s, run.id, ADA, window=AN_HOUR), may=may)
        if done:
            assert done.messages == len(again)
            run.model.resend(again)
        return may

    def _write_off(self, run: Run) -> bool:
        given_up, may = run.model.decidable(), run.model.may_write_off()
        done = self._decided(lambda s: unknown.close_unknown(s, run.id, ADA, window=AN_HOUR), may=may)
        if done:
            assert done.messages == len(given_up)
            run.model.write_off(given_up)
        return may

    def _retry(self, run: Run) -> bool:
        """The first failed job of the execution."""
        key = next(iter(run.model.jobs), None)
        if key is None:
            return False
        with self.database.reading() as s:
            open_jobs = select(FailedJob).where(
                FailedJob.execution_id == run.id, FailedJob.state == JobState.OPEN
            )
            job = s.scalars(open_jobs.order_by(FailedJob.id)).first()
        assert job is not None
        assert job.subject["batch_id"] == key
        may = run.model.may_retry()
        if self._decided(lambda s: failed_jobs.retry_job(s, job.id, retried_by="Ada"), may=may):
            run.model.retry()
        return may

    def _settle(self, run: Run) -> None:
        state = self.database.run(lambda s: executions.settle_execution(s, run.id))
        run.model.settle()
        assert state is run.model.state

    def _one_of(self, how: int, usual: Step, rest: list[Step]) -> Step:
        """The usual step in half of the cases."""
        return usual if how % 2 else rest[how // 2 % len(rest)]

    def _read(self, holder: Holder) -> None:
        with self.database.reading() as s:
            recipients = ledger.read_batch(s, holder.batch)
        holder.read = {recipient.message_id for recipient in recipients}
        holder.excluded = {r.message_id: r.exclusion for r in recipients if r.exclusion}
        gone = {key for key, client in zip(holder.run.ids, self.clients, strict=True) if client is None}
        assert holder.read == holder.run.model.open_in(holder.batch.id)
        assert holder.excluded == dict.fromkeys(holder.read & gone, Exclusion.CLIENT_DELETED)

    def _decided(self, work: Write, *, may: bool) -> Any:
        """What came of a decision; None when it had to be refused, and was."""
        if may:
            return self.database.run(work)
        with pytest.raises(Conflict):
            self.database.run(work)
        return None

    def _members(self, execution_id: int, ids: list[int]) -> dict[int, list[int]]:
        with self.database.reading() as s:
            rows = s.scalars(select(Batch).where(Batch.execution_id == execution_id)).all()
        return {
            row.id: [key for key in sorted(ids) if row.first_message_id <= key <= row.last_message_id]
            for row in rows
        }

    def _dump(self) -> list[list[Any]]:
        with self.database.reading() as s:
            # Columns, not objects: SQLAlchemy would answer with those that it has.
            return [
                list(s.execute(select(*model.__table__.columns).order_by(*inspect(model).primary_key)))
                for model in WRITTEN
            ]

    def _run(self, which: int) -> Run:
        return self.runs[which % len(self.runs)]


def _begin(session: Session, *, channel: Channel, client_ids: list[int], batch_size: int) -> tuple[int, int]:
    """The ids of an execution and of its flow."""
    campaign = add_campaign(session, name=f"Spring {channel}", channel=channel)
    members = [{"client_list_id": campaign.client_list.id, "client_id": key} for key in client_ids]
    session.execute(insert(ClientListMember), members)
    return prepared(session, campaign, batch_size=batch_size).id, campaign.flow.id


def _commit(session: Session, holder: Holder, failed: set[int]) -> set[int]:
    ready = holder.read - failed - holder.excluded.keys()
    is_sms = holder.run.channel is Channel.SMS
    return ledger.commit_sending(
        session,
        holder.batch,
        ready=ready,
        failed=dict.fromkeys(failed, "render: x"),
        excluded=holder.excluded,
        lease_seconds=LEASE,
        parts={message: 1 + message % 3 for message in ready} if is_sms else None,
    )


def _writes(holder: Holder) -> dict[BatchState, list[Write]]:
    """All that a holder can write, by the state in which his batch has to be."""
    batch, ids = holder.batch, sorted(holder.read)
    refused = dict.fromkeys(ids[1:2], "refused: x")
    return {
        BatchState.CLAIMED: [
            partial(_commit, holder=holder, failed=set(ids[:1])),
            lambda s: ledger.give_up_batch(s, batch, error="x"),
            lambda s: ledger.give_back_claim(s, batch, delay_seconds=0),
            lambda s: split_batch(s, batch, ids[:1]),
        ],
        BatchState.SENDING: [
            lambda s: ledger.accept_batch(s, batch, "X-1"),
            lambda s: ledger.return_batch(s, batch, error="429", delay_seconds=0),
            lambda s: ledger.refuse_messages(s, batch, dict.fromkeys(ids[:1], "refused: x")),
            lambda s: ledger.leave_unknown(s, batch, error="reset"),
            lambda s: ledger.record_sms(
                s,
                batch,
                accepted=dict.fromkeys(ids[:1], "id"),
                failed=refused,
                unknown=ids[2:3],
                retry_delay=0,
                error=None,
            ),
        ],
    }


@pytest.mark.slow
def test_the_ledger_does_what_its_model_does(engine: Engine) -> None:
    class Machine(LedgerMachine):
        database = Database(engine)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=GIVEN_EXAMPLES is None,
            suppress_health_check=list(HealthCheck),
        ),
    )
