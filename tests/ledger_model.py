"""What the ledger is meant to do, in plain Python: the model that a state machine compares it with.

A message here is `sending` by itself, and a batch is a list of messages: the model knows nothing of ranges, of states that
are stored once a batch, or of counts.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from db.models.suppressions import EVERYWHERE
from db.states import BatchState, Channel, ExecutionState, Feedback, MessageState

OPEN = (MessageState.PENDING, MessageState.SENDING)
HELD = (BatchState.CLAIMED, BatchState.SENDING)
RESENDABLE = (ExecutionState.SENDING, ExecutionState.SETTLING, ExecutionState.PAUSED)
RETRIABLE = (*RESENDABLE, ExecutionState.COMPLETED)
CLOSABLE = (*RESENDABLE, ExecutionState.CANCELLED)


@dataclass
class ModelSuppressions:
    """Who must not be written to: per channel, address and scope the latest wish, and of a tie the suppression."""

    wishes: dict[tuple[Channel, str, int], tuple[int, bool]] = field(default_factory=dict)

    def apply(self, key: tuple[Channel, str, int], when: int, active: bool) -> None:
        self.wishes[key] = max(self.wishes.get(key, (when, active)), (when, active))

    def holds(self, channel: Channel, address: str, flow_id: int) -> bool:
        scopes = (EVERYWHERE, flow_id)
        return any(self.wishes.get((channel, address, scope), (0, False))[1] for scope in scopes)


@dataclass
class ModelProvider:
    """The other side: what it was given, and what it is known to have taken.

    A message may be given once, and once more for each time that a person said so. What was certainly not taken does not
    count; what is known to be taken is never given again.
    """

    given: Counter[int] = field(default_factory=Counter)
    approved: Counter[int] = field(default_factory=Counter)
    proven: set[int] = field(default_factory=set)

    def give(self, messages: Collection[int]) -> None:
        assert not self.proven & set(messages), "given again, though it is known to be taken"
        self.given.update(messages)
        for message in messages:
            assert self.given[message] <= 1 + self.approved[message], "given twice, and nobody approved it"


@dataclass
class ModelBatch:
    """A batch: its messages and who may write about it. `waits` is the time before which it is not due, `is_late` a
    lease that ran out."""

    ids: list[int]
    state: BatchState = BatchState.PENDING
    token: int = 0
    waits: bool = False
    is_late: bool = False

    def is_held_by(self, token: int, state: BatchState) -> bool:
        """Whether the holder of the token may write what is only written in that state."""
        return self.token == token and self.state is state


@dataclass
class LedgerModel:
    """One execution."""

    channel: Channel
    flow_id: int
    addresses: dict[int, str]
    batches: dict[int, ModelBatch]
    suppressions: ModelSuppressions
    provider: ModelProvider = field(default_factory=ModelProvider)
    messages: dict[int, MessageState] = field(default_factory=dict)
    feedback: dict[int, Feedback] = field(default_factory=dict)
    gave_up: set[int] = field(default_factory=set)
    jobs: list[int] = field(default_factory=list)
    state: ExecutionState = ExecutionState.SENDING

    def __post_init__(self) -> None:
        self.messages = dict.fromkeys(self.addresses, MessageState.PENDING)
        self.feedback = dict.fromkeys(self.addresses, Feedback(0))

    def next_due(self) -> int | None:
        """The batch that is claimed next."""
        if self.state is not ExecutionState.SENDING:
            return None
        due = (
            key
            for key, batch in self.batches.items()
            if batch.state is BatchState.PENDING and not batch.waits
        )
        return min(due, default=None)

    def claim(self, key: int) -> None:
        batch = self.batches[key]
        batch.state, batch.token, batch.is_late = BatchState.CLAIMED, batch.token + 1, False

    def commit(
        self, key: int, read: Collection[int], *, failed: Collection[int], excluded: Collection[int]
    ) -> set[int]:
        """What may be sent, of a batch whose open messages were `read` some time ago."""
        batch = self.batches[key]
        if self.state is not ExecutionState.SENDING:
            batch.state = BatchState.PENDING
            return set()
        batch.is_late = False
        for message in self.open_in(key):
            if message in excluded or self.is_suppressed(message):
                self.messages[message] = MessageState.EXCLUDED
            elif message in failed:
                self.messages[message] = MessageState.FAILED
        sent = self.open_in(key)
        if sent - set(read):
            batch.state = BatchState.PENDING
            return set()
        self._move(sent, MessageState.SENDING)
        batch.state = BatchState.SENDING if sent else BatchState.DONE
        return sent

    def accept(self, key: int) -> None:
        self.provider.proven |= self.open_in(key)
        self._end(key, BatchState.DONE, MessageState.ACCEPTED)

    def leave_unknown(self, key: int) -> None:
        self._end(key, BatchState.UNKNOWN, MessageState.UNKNOWN)

    def give_up(self, key: int) -> None:
        self.jobs.append(key)
        self.gave_up |= self.open_in(key)
        self._end(key, BatchState.FAILED, MessageState.FAILED)

    def give_back(self, key: int, *, waits: bool) -> None:
        """The claim, before anything was tried."""
        self.batches[key].state, self.batches[key].waits = BatchState.PENDING, waits

    def take_back(self, key: int, *, refused: Collection[int] = (), waits: bool = False) -> None:
        """The provider took nothing, and refused some for good."""
        self.provider.given.subtract(self.open_in(key))
        self._move(self.open_in(key) & set(refused), MessageState.FAILED)
        self._return(key)
        self.batches[key].waits = waits

    def record(
        self, key: int, *, accepted: set[int], failed: set[int], unknown: set[int], waits: bool
    ) -> None:
        """Single requests with a mixture of outcomes; the rest was not taken."""
        still = self.open_in(key)
        for outcome, some in (
            (MessageState.ACCEPTED, accepted),
            (MessageState.FAILED, failed),
            (MessageState.UNKNOWN, unknown),
        ):
            self._move(some & still, outcome)
        self.provider.proven |= accepted & still
        rest = still - accepted - failed - unknown
        self.provider.given.subtract((failed & still) | rest)
        if rest:
            self._return(key)
            self.batches[key].waits = waits
        else:
            self.batches[key].state = BatchState.UNKNOWN if unknown else BatchState.DONE

    def cut(self, key: int, pieces: Mapping[int, list[int]]) -> None:
        """A claimed batch is several now; the first of them has its id."""
        batch = self.batches[key]
        batch.state = BatchState.PENDING
        for piece, ids in pieces.items():
            self.batches.setdefault(piece, ModelBatch(ids)).ids = ids

    def release_late_claims(self) -> int:
        claims = [key for key in self.late() if self.batches[key].state is BatchState.CLAIMED]
        for key in claims:
            self.batches[key].state = BatchState.PENDING
            self.batches[key].token += 1
        return len(claims)

    def expire_sending(self) -> int:
        sending = [key for key in self.late() if self.batches[key].state is BatchState.SENDING]
        for key in sending:
            self.batches[key].token += 1
            self.leave_unknown(key)
        return len(sending)

    def evidence(self, message: int, bits: Feedback) -> None:
        """A signed event, which proves that the provider has the message."""
        self.feedback[message] |= bits
        self.provider.proven.add(message)
        if self.messages[message] in (*OPEN, MessageState.UNKNOWN):
            self.messages[message] = MessageState.ACCEPTED

    def cancel(self) -> None:
        self.state = ExecutionState.CANCELLED
        self._move(self.of(MessageState.PENDING), MessageState.CANCELLED)

    def decidable(self) -> set[int]:
        """Unknown messages about which a person may decide. Those of a batch that is being sent have to wait."""
        idle = [batch.ids for batch in self.batches.values() if batch.state is not BatchState.SENDING]
        return self.of(MessageState.UNKNOWN).intersection(*[{key for ids in idle for key in ids}])

    def resend(self, again: set[int]) -> None:
        """By a person's word. A holder has read his batch without them, so he has lost it."""
        for batch in self.batches.values():
            if again & set(batch.ids) and batch.state is not BatchState.PENDING:
                self._reopen(batch)
        self._move(again, MessageState.PENDING)
        self.provider.approved.update(again)
        if self.state is ExecutionState.SETTLING:
            self.state = ExecutionState.SENDING

    def write_off(self, given_up: set[int]) -> None:
        self._move(given_up, MessageState.FAILED)
        self.settle()

    def may_resend(self) -> bool:
        return self.state in RESENDABLE and bool(self.decidable())

    def may_write_off(self) -> bool:
        return self.state in CLOSABLE and bool(self.decidable())

    def may_retry(self) -> bool:
        """Whether the oldest failed job can be retried."""
        return (
            bool(self.jobs)
            and self.state in RETRIABLE
            and self.batches[self.jobs[0]].state is not BatchState.SENDING
        )

    def retry(self) -> None:
        """What failed only because the batch gave up. Of which there is evidence was taken all the same."""
        batch = self.batches[self.jobs.pop(0)]
        failed = self.of(MessageState.FAILED) & self.gave_up & set(batch.ids)
        again = {message for message in failed if not self.feedback[message]}
        if not again:
            return
        self.gave_up -= again
        self._move(again, MessageState.PENDING)
        self._reopen(batch)
        if self.state in (ExecutionState.SETTLING, ExecutionState.COMPLETED):
            self.state = ExecutionState.SENDING

    def settle(self) -> None:
        if self.state not in (ExecutionState.SENDING, ExecutionState.SETTLING) or self.of(*OPEN):
            return
        unknown = self.of(MessageState.UNKNOWN)
        self.state = ExecutionState.SETTLING if unknown else ExecutionState.COMPLETED

    def of(self, *states: MessageState) -> set[int]:
        """Messages in one of the states."""
        return {message for message, state in self.messages.items() if state in states}

    def open_in(self, key: int) -> set[int]:
        """The messages of a batch that are to be sent or being sent."""
        return self.of(*OPEN) & set(self.batches[key].ids)

    def held(self) -> list[int]:
        """Batches that somebody works on, or did until he died."""
        return [key for key, batch in self.batches.items() if batch.state in HELD]

    def late(self) -> list[int]:
        return [key for key in self.held() if self.batches[key].is_late]

    def waiting(self) -> list[ModelBatch]:
        return [batch for batch in self.batches.values() if batch.waits]

    def is_suppressed(self, message: int) -> bool:
        return self.suppressions.holds(self.channel, self.addresses[message], self.flow_id)

    def _reopen(self, batch: ModelBatch) -> None:
        batch.state, batch.token, batch.waits = BatchState.PENDING, batch.token + 1, False

    def _move(self, messages: Iterable[int], state: MessageState) -> None:
        for message in messages:
            self.messages[message] = state

    def _end(self, key: int, state: BatchState, outcome: MessageState) -> None:
        self._move(self.open_in(key), outcome)
        self.batches[key].state = state

    def _return(self, key: int) -> None:
        is_cancelled = self.state is ExecutionState.CANCELLED
        outcome = MessageState.CANCELLED if is_cancelled else MessageState.PENDING
        self._end(key, BatchState.PENDING, outcome)
