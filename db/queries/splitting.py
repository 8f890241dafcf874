"""A claimed batch is cut where a message has to travel alone: a batch is one request, whoever is in it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from db.models import Batch, Message
from db.queries.transitions import ClaimedBatch, fence, open_messages
from db.states import BatchState


@dataclass(frozen=True)
class Piece:
    """A range of message ids, and how many open messages are in it."""

    first_message_id: int
    last_message_id: int
    size: int


def split_batch(session: Session, batch: ClaimedBatch, alone: Collection[int]) -> int:
    """Cut a claimed batch so that each of the messages `alone` has a batch of its own; returns the number of batches.

    All of them are pending, with the attempts that the batch had: nothing was tried.

    Raises:
        StaleToken: somebody else decided about the batch.
    """
    # From here on the row is ours, and with it its open messages.
    fence(session, batch, BatchState.CLAIMED, state=BatchState.PENDING, attempts=Batch.attempts - 1)
    open_ids = session.scalars(select(Message.id).where(*open_messages(batch)).order_by(Message.id)).all()
    kept, *others = cut(open_ids, alone, batch.first_message_id, batch.last_message_id)
    if not others:
        return 1
    session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(last_message_id=kept.last_message_id, size=kept.size)
        .execution_options(synchronize_session=False)
    )
    same = {
        "execution_id": batch.execution_id,
        "step_id": batch.step_id,
        "state": BatchState.PENDING,
        "token": 0,
        "attempts": batch.attempts - 1,
    }
    session.execute(insert(Batch), [{**same, **vars(piece)} for piece in others])
    return 1 + len(others)


def cut(open_ids: Sequence[int], alone: Collection[int], first: int, last: int) -> list[Piece]:
    """The range `first` to `last` in pieces that join without a gap; messages that are not open stay with the open ones
    before them, since each message belongs to the last batch that begins before it."""
    pieces: list[Piece] = []
    for begin, size in _runs(open_ids, frozenset(alone)):
        if pieces:
            pieces[-1] = Piece(pieces[-1].first_message_id, begin - 1, pieces[-1].size)
        pieces.append(Piece(begin if pieces else first, last, size))
    return pieces or [Piece(first, last, 0)]


def _runs(open_ids: Sequence[int], alone: frozenset[int]) -> Iterator[tuple[int, int]]:
    """(first id, number) of the messages that travel together, in their order."""
    begin, size = None, 0
    for message_id in open_ids:
        if begin is not None and (message_id in alone or begin in alone):
            yield begin, size
            begin, size = None, 0
        begin, size = begin or message_id, size + 1
    if begin is not None:
        yield begin, size
