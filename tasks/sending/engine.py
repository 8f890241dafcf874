"""The batch protocol, step by step. The order of the steps is what makes a second sending impossible:

    claim -> read and render -> commit `sending` -> one request -> record

A process that dies before the commit leaves a claim, which others may take over. One that dies after it leaves a
batch in `sending`, which nobody ever sends again: its messages become unknown until evidence or a person says more.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import structlog

from db.engine import Database, DatabaseError
from db.errors import StaleToken
from db.queries import executions, leases, ledger
from db.queries.splitting import split_batch
from db.queries.transitions import ClaimedBatch
from db.states import Channel, Exclusion
from settings import Settings
from tasks.sending.attempts import Attempt, ChannelSender, Record, return_batch
from tasks.sending.limiter import MOST_HORIZON_SECONDS, Limiter, Pace

log = structlog.get_logger()
_LONGEST_WAIT_SECONDS = 1.0


class Step(StrEnum):
    """What one turn of a lane did."""

    WORKED = "worked"
    WAITED = "waited"
    NOTHING_LEFT = "nothing_left"


@dataclass(frozen=True)
class SendEngine:
    """Sends the batches of executions. Safe to use from several threads, processes and machines at once."""

    database: Database
    settings: Settings
    senders: Mapping[Channel, ChannelSender]

    @cached_property
    def limiter(self) -> Limiter:
        """What it knows of the rate limits. A place is never reserved further ahead than a claim lasts."""
        return Limiter(self.database, min(MOST_HORIZON_SECONDS, self.settings.batch_lease_seconds / 4))

    def run_slice(self, execution_id: int, *, most_batches: int) -> int:
        """Send up to `most_batches` batches of the execution; returns how many this lane worked on.

        Ends early when nothing is left that could become due, or when the execution is paused or cancelled.
        """
        worked = 0
        while worked < most_batches:
            step = self.step(execution_id)
            if step is Step.NOTHING_LEFT:
                break
            worked += step is Step.WORKED
        return worked

    def step(self, execution_id: int) -> Step:
        """Work on one batch, or wait a moment for one that is not due yet or that someone else holds."""
        lease = self.settings.batch_lease_seconds
        batch = self.database.run(lambda s: ledger.claim_batch(s, execution_id, lease_seconds=lease))
        if batch is None:
            return self._wait(execution_id)
        try:
            return self._work_on(batch)
        except StaleToken as stale:
            # Our lease ran out and somebody else decided about the batch; whatever we know comes too late.
            log.warning("batch taken over", batch_id=stale.batch_id, token=stale.token)
            return Step.WORKED

    def _work_on(self, batch: ClaimedBatch) -> Step:
        if batch.attempts > self.settings.max_batch_attempts:
            error = f"not taken by the provider in {self.settings.max_batch_attempts} attempts"
            self.database.run(lambda s: ledger.give_up_batch(s, batch, error=error))
            return Step.WORKED
        sender = self.senders[batch.channel]
        with self.database.reading() as session:
            recipients = ledger.read_batch(session, batch, sender.fields(batch))
        excluded = {r.message_id: r.exclusion for r in recipients if r.exclusion}
        attempt = sender.render(batch, [r for r in recipients if not r.exclusion])
        if attempt.alone:
            self.database.run(lambda s: split_batch(s, batch, attempt.alone))
            return Step.WORKED
        pace = self._wait_for_place(batch, attempt)
        if pace is None:
            return Step.WAITED
        message_ids, deadline = self._commit_sending(batch, attempt, excluded)
        if message_ids:
            # A request that is begun must be able to end, and to be recorded, before the lease does.
            begin_until = deadline - 1.5 * self.settings.provider_timeout_seconds
            record = self._send(batch, attempt, message_ids, pace, begin_until)
            self._record(batch, record, deadline)
        return Step.WORKED

    def _send(
        self, batch: ClaimedBatch, attempt: Attempt, message_ids: set[int], pace: Pace, begin_until: float
    ) -> Record:
        """Send at the pace. The commit may have taken so long that the place is missed: then wait for another one."""
        while time.monotonic() > pace.latest:
            found = self._reserve(batch, attempt, begin_until)
            if found is None or time.monotonic() > begin_until:
                return lambda s: return_batch(s, batch, "no place within the rate limits", 0.0)
            pace = found
        return attempt.send(message_ids, pace=pace, deadline=begin_until)

    def _wait_for_place(self, batch: ClaimedBatch, attempt: Attempt) -> Pace | None:
        """Wait until the rate limits have room; None when that takes too long and the batch was given back.

        Last before `sending` is committed, so that suppressions are read after the wait.
        """
        pace = self._reserve(batch, attempt, time.monotonic() + self.settings.batch_lease_seconds / 3)
        if pace is None:
            self.database.run(lambda s: ledger.give_back_claim(s, batch, delay_seconds=_LONGEST_WAIT_SECONDS))
        return pace

    def _reserve(self, batch: ClaimedBatch, attempt: Attempt, until: float) -> Pace | None:
        """Wait for a place, at most until then (time.monotonic)."""
        while True:
            found = self.limiter.reserve(
                batch, requests=attempt.requests, messages=len(attempt.ready), burst=attempt.burst
            )
            if isinstance(found, Pace):
                time.sleep(max(0.0, found.begin_at - time.monotonic()))
                return found
            if time.monotonic() > until:
                return None
            time.sleep(min(found, _LONGEST_WAIT_SECONDS))

    def _commit_sending(
        self, batch: ClaimedBatch, attempt: Attempt, excluded: Mapping[int, Exclusion]
    ) -> tuple[set[int], float]:
        lease = self.settings.batch_lease_seconds
        started = time.monotonic()
        message_ids = self.database.run(
            lambda s: ledger.commit_sending(
                s,
                batch,
                ready=attempt.ready,
                failed=attempt.failed,
                excluded=excluded,
                lease_seconds=lease,
                parts=attempt.parts,
            )
        )
        return message_ids, started + lease

    def _record(self, batch: ClaimedBatch, record: Record, deadline: float) -> None:
        """Write the outcome; a database that is away is waited for until the lease ends, since a lost outcome is an
        unknown message. A retry after a COMMIT whose answer was lost meets a stale token: then it was written."""
        tried = 0
        while True:
            try:
                self.database.run(record)
            except DatabaseError as error:
                tried += 1
                if time.monotonic() > deadline:
                    raise
                log.warning(
                    "outcome not recorded yet", batch_id=batch.id, tried=tried, error=type(error).__name__
                )
                time.sleep(min(0.1 * 2**tried, 2.0))
            except StaleToken:
                if not tried:
                    raise
                return
            else:
                return

    def _wait(self, execution_id: int) -> Step:
        """Nothing could be claimed: free what dead holders left, then wait for the next batch if there is one."""
        self.database.run(lambda s: leases.release_expired_claims(s, execution_id))
        self.database.run(lambda s: leases.expire_sending(s, execution_id))
        with self.database.reading() as session:
            is_open = executions.is_sending(session, execution_id)
            due = leases.next_due_in(session, execution_id)
        if not is_open or due is None:
            return Step.NOTHING_LEFT
        time.sleep(min(max(due, 0.05), _LONGEST_WAIT_SECONDS))
        return Step.WAITED
