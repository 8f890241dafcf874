"""What a channel offers the send engine: a rendered batch that can be sent, and be recorded afterwards."""

from collections.abc import Callable, Collection, Mapping, Sequence
from random import random
from typing import Protocol

from db.engine import Session
from db.queries import ledger, rate_limits
from db.queries.ledger import Recipient
from db.queries.transitions import ClaimedBatch
from tasks.providers.outcomes import RequestRefused
from tasks.sending.backoff import retry_delay
from tasks.sending.limiter import Pace

Record = Callable[[Session], None]
"""The transaction that records the outcome of a request. It is fenced, so it may be tried more than once."""


def refusal_error(provider: str, refusal: RequestRefused) -> str:
    """What people read when a provider refuses our requests as such."""
    return f"{provider} refuses the request: {refusal.reason}. Correct it, then resume the execution."


def return_batch(session: Session, batch: ClaimedBatch, error: str, retry_after: float | None) -> None:
    """Record that nothing of it was taken. A provider that says when to come back (`retry_after`, in seconds) is left
    alone by all workers until then, and does not use up the batch's attempts."""
    delay = retry_delay(batch.attempts, retry_after, jitter=random())
    ledger.return_batch(session, batch, error=error, delay_seconds=delay, is_attempt=retry_after is None)
    if retry_after:
        rate_limits.hold_off(session, rate_limits.PROVIDERS[batch.channel], retry_after)


class Attempt(Protocol):
    """A rendered batch."""

    @property
    def ready(self) -> Collection[int]:
        """Messages that were rendered."""
        ...

    @property
    def failed(self) -> Mapping[int, str]:
        """Messages that cannot be sent, and why."""
        ...

    @property
    def alone(self) -> Collection[int]:
        """Messages that do not fit into a request with others. When there are any, nothing can be sent: the batch has to
        be cut first."""
        ...

    @property
    def parts(self) -> Mapping[int, int]:
        """The sizes of SMS; empty for email."""
        ...

    @property
    def requests(self) -> int:
        """How many requests it takes to send all of them."""
        ...

    @property
    def burst(self) -> int:
        """How many messages may leave at once."""
        ...

    def send(self, message_ids: set[int], *, pace: Pace, deadline: float) -> Record:
        """Send exactly these messages at the pace. `deadline` (time.monotonic) is when the lease gets too short to
        begin a request."""
        ...


class ChannelSender(Protocol):
    def fields(self, batch: ClaimedBatch) -> frozenset[str]:
        """What rendering the batch reads of its clients; see `ledger.CLIENT_FIELDS`."""
        ...

    def render(self, batch: ClaimedBatch, recipients: Sequence[Recipient]) -> Attempt: ...
