"""What a channel offers the send engine: a rendered batch that can be sent, and be recorded afterwards."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from db.engine import Session
from db.queries.ledger import Recipient
from db.queries.transitions import ClaimedBatch
from tasks.providers.outcomes import RequestRefused

Record = Callable[[Session], None]
"""The transaction that records the outcome of a request. It is fenced, so it may be tried more than once."""


def refusal_error(provider: str, refusal: RequestRefused) -> str:
    """What people read when a provider refuses our requests as such."""
    return f"{provider} refuses the request: {refusal.reason}. Correct it, then resume the execution."


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
    def parts(self) -> Mapping[int, int]:
        """The sizes of SMS; empty for email."""
        ...

    def send(self, message_ids: set[int], *, deadline: float) -> Record:
        """Send exactly these messages. `deadline` (time.monotonic) is when the lease gets too short to go on."""
        ...


class ChannelSender(Protocol):
    def fields(self, batch: ClaimedBatch) -> frozenset[str]:
        """What rendering the batch reads of its clients; see `ledger.CLIENT_FIELDS`."""
        ...

    def render(self, batch: ClaimedBatch, recipients: Sequence[Recipient]) -> Attempt: ...
