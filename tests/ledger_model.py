"""What the ledger is meant to do, in a hundred lines of plain Python: the model that a state machine compares it with."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from db.states import BatchState, ExecutionState, MessageState

OPEN = (MessageState.PENDING, MessageState.SENDING)
FINAL = (ExecutionState.COMPLETED, ExecutionState.CANCELLED, ExecutionState.FAILED)


@dataclass
class ModelBatch:
    """A batch: its messages and who may write about it."""

    ids: list[int]
    state: BatchState = BatchState.PENDING
    token: int = 0


@dataclass
class LedgerModel:
    """One execution. `given` counts how often a message was handed to the provider, `approved` how often a person
    allowed one time more."""

    messages: dict[int, MessageState]
    addresses: dict[int, str]
    batches: dict[int, ModelBatch]
    state: ExecutionState = ExecutionState.SENDING
    suppressed: set[str] = field(default_factory=set)
    given: Counter[int] = field(default_factory=Counter)
    approved: Counter[int] = field(default_factory=Counter)

    def next_due(self) -> int | None:
        """The batch that is claimed next."""
        if self.state is not ExecutionState.SENDING:
            return None
        return min(
            (key for key, batch in self.batches.items() if batch.state is BatchState.PENDING), default=None
        )

    def claim(self, key: int) -> None:
        self.batches[key].state = BatchState.CLAIMED
        self.batches[key].token += 1

    def commit(self, key: int, failed: Collection[int]) -> set[int]:
        """What may be sent."""
        batch = self.batches[key]
        if self.state is not ExecutionState.SENDING:
            batch.state = BatchState.PENDING
            return set()
        for message in self._open(batch):
            if self.addresses[message] in self.suppressed:
                self.messages[message] = MessageState.EXCLUDED
            elif message in failed:
                self.messages[message] = MessageState.FAILED
        sent = set(self._open(batch))
        self._move(sent, MessageState.SENDING)
        batch.state = BatchState.SENDING if sent else BatchState.DONE
        self.given.update(sent)
        return sent

    def accept(self, key: int) -> None:
        self._end(key, BatchState.DONE, MessageState.ACCEPTED)

    def leave_unknown(self, key: int) -> None:
        self._end(key, BatchState.UNKNOWN, MessageState.UNKNOWN)

    def take_back(self, key: int, refused: Collection[int] = ()) -> None:
        """The provider took nothing, and refused some for good."""
        self.given.subtract(self._open(self.batches[key]))
        self._move(set(refused) & set(self._open(self.batches[key])), MessageState.FAILED)
        self._return(key)

    def record(self, key: int, accepted: set[int], failed: set[int], unknown: set[int]) -> None:
        """Single requests with a mixture of outcomes; the rest was not taken."""
        still = set(self._open(self.batches[key]))
        self._move(accepted & still, MessageState.ACCEPTED)
        self._move(failed & still, MessageState.FAILED)
        self._move(unknown & still, MessageState.UNKNOWN)
        rest = still - accepted - failed - unknown
        self.given.subtract((failed & still) | rest)
        if rest:
            self._return(key)
        else:
            self.batches[key].state = BatchState.UNKNOWN if unknown else BatchState.DONE

    def give_up(self, key: int) -> None:
        self._end(key, BatchState.FAILED, MessageState.FAILED)

    def expire(self, key: int) -> None:
        """The holder died."""
        batch = self.batches[key]
        batch.token += 1
        if batch.state is BatchState.CLAIMED:
            batch.state = BatchState.PENDING
        else:
            self.leave_unknown(key)

    def evidence(self, message: int) -> None:
        if self.messages[message] in (*OPEN, MessageState.UNKNOWN):
            if self.messages[message] is MessageState.PENDING:
                # The provider took it in spite of its answer.
                self.given[message] += 1
                self.approved[message] = max(self.approved[message], self.given[message] - 1)
            self.messages[message] = MessageState.ACCEPTED

    def cancel(self) -> None:
        self.state = ExecutionState.CANCELLED
        self._move(self.of(MessageState.PENDING), MessageState.CANCELLED)

    def resendable(self) -> set[int]:
        """What a person may have sent again. Messages of a batch that is being sent have to wait."""
        if self.state in FINAL:
            return set()
        waiting = {
            message
            for batch in self.batches.values()
            if batch.state is not BatchState.SENDING
            for message in batch.ids
        }
        return set(self.of(MessageState.UNKNOWN)) & waiting

    def resend(self, again: set[int]) -> None:
        """By a person's word."""
        over = (BatchState.UNKNOWN, BatchState.DONE, BatchState.FAILED)
        for batch in self.batches.values():
            if again & set(batch.ids) and batch.state in over:
                batch.state = BatchState.PENDING
                batch.token += 1
        self._move(again, MessageState.PENDING)
        self.approved.update(again)
        if self.state is ExecutionState.SETTLING:
            self.state = ExecutionState.SENDING

    def settle(self) -> None:
        if self.state not in (ExecutionState.SENDING, ExecutionState.SETTLING) or self.of(*OPEN):
            return
        unknown = self.of(MessageState.UNKNOWN)
        self.state = ExecutionState.SETTLING if unknown else ExecutionState.COMPLETED

    def of(self, *states: MessageState) -> list[int]:
        """Messages in one of the states."""
        return [message for message, state in self.messages.items() if state in states]

    def _open(self, batch: ModelBatch) -> list[int]:
        return [message for message in batch.ids if self.messages[message] in OPEN]

    def _move(self, messages: Iterable[int], state: MessageState) -> None:
        for message in messages:
            self.messages[message] = state

    def _end(self, key: int, state: BatchState, outcome: MessageState) -> None:
        self._move(self._open(self.batches[key]), outcome)
        self.batches[key].state = state

    def _return(self, key: int) -> None:
        is_cancelled = self.state is ExecutionState.CANCELLED
        self._move(
            self._open(self.batches[key]), MessageState.CANCELLED if is_cancelled else MessageState.PENDING
        )
        self.batches[key].state = BatchState.PENDING
