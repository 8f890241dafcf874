"""The ledger against its model: any order of claims, outcomes, deaths, evidence and people's decisions.

After each step the ledger has to be where the model is, the counts have to equal a recount, and no message may have been
handed to a provider more often than people approved.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
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
from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.engine import Database
from db.errors import Conflict, StaleToken
from db.models import Batch, Message
from db.queries import executions, leases, ledger, unknown
from db.queries.feedback import apply_feedback
from db.queries.stats import get_counts, recount
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.queries.transitions import ClaimedBatch
from db.queries.unknown import Decision
from db.states import BatchState, Channel, ExecutionState, Feedback, MessageState, SuppressionReason
from tests.builders import add_campaign, empty, prepared
from tests.ledger_model import LedgerModel, ModelBatch

CLIENTS = 7
LEASE = 600
EXAMPLES = int(os.environ.get("ICS_MACHINE_EXAMPLES", "60"))
choice = st.integers(0, 1000)
# Not the simplest of the values, which Hypothesis tries most.
seldom = st.integers(0, 9).map(lambda number: number == 7)
some = st.sets(st.integers(0, CLIENTS - 1), max_size=3)


@dataclass
class Holder:
    """A worker that holds a batch, or believes so."""

    batch: ClaimedBatch
    sent: set[int] | None = None


class LedgerMachine(RuleBasedStateMachine):
    """One execution, several workers, and people."""

    database: Database

    @initialize(channel=st.sampled_from(list(Channel)), batch_size=st.integers(1, 4))
    def begin(self, channel: Channel, batch_size: int) -> None:
        empty(self.database.engine)

        def make(s: Any) -> tuple[int, int]:
            campaign = add_campaign(s, channel=channel, clients=CLIENTS)
            execution = prepared(s, campaign, batch_size=batch_size)
            return execution.id, campaign.flow.id

        self.channel = channel
        self.execution, self.flow = self.database.run(make)
        self.holders: list[Holder] = []
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        with self.database.reading() as s:
            rows = s.execute(
                select(Message.id, Message.address).where(Message.execution_id == self.execution)
            ).all()
            batches = s.scalars(select(Batch).where(Batch.execution_id == self.execution)).all()
        ids = [row.id for row in rows]
        self.model = LedgerModel(
            dict.fromkeys(ids, MessageState.PENDING),
            {row.id: row.address for row in rows},
            {
                batch.id: ModelBatch(
                    [key for key in ids if batch.first_message_id <= key <= batch.last_message_id]
                )
                for batch in batches
            },
        )
        self.ids = sorted(ids)

    @precondition(lambda self: self.model.next_due())
    @rule()
    def claim(self) -> None:
        expected = self.model.next_due()
        batch = self.database.run(lambda s: ledger.claim_batch(s, self.execution, lease_seconds=LEASE))
        assert (batch.id if batch else None) == expected
        if batch is not None:
            self.model.claim(batch.id)
            assert batch.token == self.model.batches[batch.id].token
            self.holders.append(Holder(batch))

    @precondition(lambda self: self.holders)
    @rule(which=choice, failing=some)
    def commit_sending(self, which: int, failing: set[int]) -> None:
        holder = self._holder(which)
        with self.database.reading() as s:
            recipients = ledger.read_batch(s, holder.batch)
        failed = {r.message_id for r in recipients} & self._messages(failing)

        def commit(s: Any) -> set[int]:
            return ledger.commit_sending(
                s,
                holder.batch,
                ready={r.message_id for r in recipients} - failed,
                failed=dict.fromkeys(failed, "render: x"),
                excluded={},
                lease_seconds=LEASE,
            )

        if not self._may_write(holder, BatchState.CLAIMED):
            self._refuses(commit)
            return
        suppressed = set(self.model.suppressed)
        holder.sent = self.database.run(commit)
        assert holder.sent == self.model.commit(holder.batch.id, failed)
        assert not {self.model.addresses[key] for key in holder.sent} & suppressed
        if not holder.sent:
            self.holders.remove(holder)

    @precondition(lambda self: self.model.next_due())
    @rule()
    def claim_and_commit(self) -> None:
        """The usual way in one step, so that what comes after it is reached often."""
        before = len(self.holders)
        self.claim()
        if len(self.holders) > before:
            self.commit_sending(before, set())

    @precondition(lambda self: self.holders)
    @rule(which=choice, how=st.sampled_from(["accept", "return", "refuse", "unknown"]), who=some)
    def record(self, which: int, how: str, who: set[int]) -> None:
        """An outcome of a request for the whole batch; of a holder that is stale nothing is written."""
        holder = self._holder(which)
        batch, refused = holder.batch, self._messages(who) & set(self.model.batches[holder.batch.id].ids)
        writes: dict[str, Callable[[Session], None]] = {
            "accept": partial(self._accept, batch=batch),
            "return": lambda s: ledger.return_batch(s, batch, error="429", delay_seconds=0),
            "refuse": lambda s: ledger.refuse_messages(s, batch, dict.fromkeys(refused, "refused: x")),
            "unknown": lambda s: ledger.leave_unknown(s, batch, error="reset"),
        }
        if not self._may_write(holder, BatchState.SENDING):
            self._refuses(writes[how])
            return
        self.database.run(writes[how])
        self.holders.remove(holder)
        match how:
            case "accept":
                self.model.accept(batch.id)
            case "unknown":
                self.model.leave_unknown(batch.id)
            case _:
                self.model.take_back(batch.id, refused if how == "refuse" else ())

    @precondition(lambda self: self.holders and self.channel is Channel.SMS)
    @rule(which=choice, accepted=some, failed=some, unknown=some)
    def record_sms(self, which: int, accepted: set[int], failed: set[int], unknown: set[int]) -> None:
        holder = self._holder(which)
        mine = set(self.model.batches[holder.batch.id].ids)
        taken = self._messages(accepted) & mine
        refused = (self._messages(failed) & mine) - taken
        doubtful = (self._messages(unknown) & mine) - taken - refused

        def write(s: Any) -> None:
            ledger.record_sms(
                s,
                holder.batch,
                accepted=dict.fromkeys(taken, "id"),
                failed=dict.fromkeys(refused, "refused: x"),
                unknown=doubtful,
                retry_delay=0,
                error=None,
            )

        if not self._may_write(holder, BatchState.SENDING):
            self._refuses(write)
            return
        self.database.run(write)
        self.holders.remove(holder)
        self.model.record(holder.batch.id, taken, refused, doubtful)

    @precondition(lambda self: self.holders)
    @rule(which=choice)
    def give_up(self, which: int) -> None:
        holder = self._holder(which)
        if not self._may_write(holder, BatchState.CLAIMED):
            self._refuses(lambda s: ledger.give_up_batch(s, holder.batch, error="x"))
            return
        self.database.run(lambda s: ledger.give_up_batch(s, holder.batch, error="x"))
        self.holders.remove(holder)
        self.model.give_up(holder.batch.id)

    @precondition(lambda self: self.holders)
    @rule(which=choice)
    def a_lease_runs_out(self, which: int) -> None:
        """The holder stays in the list: it may wake up and write."""
        key = self._holder(which).batch.id
        held = self.model.batches[key].state in (BatchState.CLAIMED, BatchState.SENDING)

        def expire(s: Any) -> int:
            _run_out(s, batch_id=key)
            return leases.release_expired_claims(s, self.execution) + leases.expire_sending(s, self.execution)

        assert self.database.run(expire) == held
        if held:
            self.model.expire(key)

    @rule(who=st.integers(0, CLIENTS - 1), copies=st.integers(1, 2), sure=seldom)
    def evidence(self, who: int, copies: int, sure: bool) -> None:
        if self.model.messages[self.ids[who]] is MessageState.PENDING and not sure:
            return  # It is rare that a provider takes what it refused, and it ends the story of the message.
        self._see(self.ids[who], copies)

    @precondition(lambda self: self.model.of(MessageState.SENDING, MessageState.UNKNOWN))
    @rule(which=choice)
    def early_evidence(self, which: int) -> None:
        """About a message that is on its way, or that nobody knows about."""
        waiting = self.model.of(MessageState.SENDING, MessageState.UNKNOWN)
        self._see(waiting[which % len(waiting)], 1)

    def _see(self, message: int, copies: int) -> None:
        for _ in range(copies):
            self.database.run(lambda s: apply_feedback(s, {message: Feedback.PROCESSED}))
        self.model.evidence(message)

    @rule(who=st.integers(0, CLIENTS - 1), active=st.booleans(), for_flow=st.booleans())
    def suppress(self, who: int, active: bool, for_flow: bool) -> None:
        address = self.model.addresses[self.ids[who]]
        self.clock += timedelta(seconds=1)
        # Lifting concerns the suppression of the same scope; one scope keeps the model small.
        scope = self.flow if for_flow and not self.model.suppressed else 0
        if scope and not active:
            return
        change = SuppressionChange(
            self.channel,
            address,
            SuppressionReason.MANUAL,
            self.clock,
            "machine",
            active=active,
            scope=scope,
        )
        if not active and (address, "flow") in self._for_flow():
            return
        self.database.run(lambda s: apply_suppressions(s, [change]))
        if scope:
            self._for_flow().add((address, "flow"))
        if active:
            self.model.suppressed.add(address)
        else:
            self.model.suppressed.discard(address)

    @precondition(lambda self: self.model.state is ExecutionState.SENDING)
    @rule(sure=seldom)
    def pause(self, sure: bool) -> None:
        if sure:
            self.database.run(lambda s: executions.pause_execution(s, self.execution, reason="a person"))
            self.model.state = ExecutionState.PAUSED

    @precondition(lambda self: self.model.state is ExecutionState.PAUSED)
    @rule()
    def resume(self) -> None:
        if self.model.state is ExecutionState.PAUSED:
            self.database.run(lambda s: executions.resume_execution(s, self.execution))
            self.model.state = ExecutionState.SENDING

    @precondition(lambda self: not self.model.state.is_final)
    @rule(sure=seldom)
    def cancel(self, sure: bool) -> None:
        """Nothing comes after it but what is on its way."""
        if not sure:
            return
        self.database.run(lambda s: executions.cancel_execution(s, self.execution))
        self.model.cancel()

    @precondition(lambda self: self.model.of(MessageState.UNKNOWN))
    @rule()
    def resend_unknown(self) -> None:
        def resend(s: Any) -> int:
            return unknown.resend_unknown(
                s, self.execution, Decision("Ada", 1, before_evidence_window=True), window=timedelta(hours=1)
            ).messages

        expected = self.model.resendable()
        if not expected:
            with pytest.raises(Conflict):
                self.database.run(resend)
            return
        self.model.resend(expected)
        assert self.database.run(resend) == len(expected)

    @rule()
    def settle(self) -> None:
        state = self.database.run(lambda s: executions.settle_execution(s, self.execution))
        self.model.settle()
        assert state is self.model.state

    @invariant()
    def the_ledger_is_where_the_model_is(self) -> None:
        if not hasattr(self, "model"):
            return
        with self.database.reading() as s:
            page = executions.list_messages(s, self.execution, after=0, limit=100)
            found = {message.id: message.state for message in page.items}
            counts, fresh = get_counts(s, self.execution), recount(s, self.execution)
            state = executions.get_execution(s, self.execution).state
        assert found == self.model.messages
        assert counts == fresh
        assert counts.messages["intended"] == CLIENTS
        assert state is self.model.state
        for message, given in self.model.given.items():
            assert given <= 1 + self.model.approved[message]
        if state is ExecutionState.COMPLETED:
            assert not self.model.of(MessageState.PENDING, MessageState.SENDING, MessageState.UNKNOWN)

    def teardown(self) -> None:
        """A worker that does all as it should brings everything to an end: nobody is left behind."""
        if not hasattr(self, "model") or self.model.state.is_final:
            return
        self.resume()
        for key, batch in self.model.batches.items():
            if batch.state in (BatchState.CLAIMED, BatchState.SENDING):
                self.database.run(partial(_run_out, batch_id=key))
                self.model.expire(key)
        self.database.run(lambda s: leases.release_expired_claims(s, self.execution))
        self.database.run(lambda s: leases.expire_sending(s, self.execution))
        self.holders.clear()
        for _ in range(4 * CLIENTS):
            self.claim()
            if not self.holders:
                break
            self.commit_sending(0, set())
            if self.holders:
                self.record(0, "accept", set())
        self.settle()
        self.the_ledger_is_where_the_model_is()
        assert not self.model.of(MessageState.PENDING, MessageState.SENDING)

    def _accept(self, session: Session, batch: ClaimedBatch) -> None:
        """The provider took all of it, in one request or in as many as there are messages."""
        if self.channel is Channel.EMAIL:
            ledger.accept_batch(session, batch, "X-1")
            return
        ids = dict.fromkeys(self.model.batches[batch.id].ids, "id")
        ledger.record_sms(session, batch, accepted=ids, failed={}, unknown=[], retry_delay=0, error=None)

    def _holder(self, which: int) -> Holder:
        return self.holders[which % len(self.holders)]

    def _messages(self, places: set[int]) -> set[int]:
        return {self.ids[place] for place in places}

    def _for_flow(self) -> set[tuple[str, str]]:
        if not hasattr(self, "_flow_scope"):
            self._flow_scope: set[tuple[str, str]] = set()
        return self._flow_scope

    def _may_write(self, holder: Holder, state: BatchState) -> bool:
        batch = self.model.batches[holder.batch.id]
        return batch.token == holder.batch.token and batch.state is state

    def _refuses(self, write: Any) -> None:
        """The invariant then sees that nothing was written."""
        with pytest.raises(StaleToken):
            self.database.run(write)


def _run_out(session: Session, batch_id: int) -> None:
    session.execute(update(Batch).where(Batch.id == batch_id).values(lease_until=utc_in(-1)))


def test_the_ledger_does_what_its_model_does(engine: Engine) -> None:
    class Machine(LedgerMachine):
        database = Database(engine)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            derandomize="ICS_MACHINE_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
