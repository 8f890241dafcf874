"""What every change of state in the ledger is made of: the fence, the move of messages, the move of the stats.

The state `sending` is written once a batch, not once a message: a message whose row says `pending` is *sending* while
its batch is. That saves a write per recipient and loses nothing, since the messages of a batch enter and leave
`sending` together. The row of the batch guards its open messages: whoever changes the state of either holds it, so
that evidence that comes in at the same moment (`db/queries/feedback.py`) is counted on one side or on the other.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, false, func, or_, select, update
from sqlalchemy.orm import Session

from db.errors import StaleToken
from db.models import Batch, Message
from db.queries.stats import move_sendmode_stats, move_stats, reason_key
from db.states import BatchState, Breakdown, Channel, MessageState


@dataclass(frozen=True)
class ClaimedBatch:
    """A batch and the right to work on it: `token` is the fencing token, the lease is on the database's clock."""

    id: int
    execution_id: int
    step_id: int
    flow_id: int
    channel: Channel
    token: int
    attempts: int
    first_message_id: int
    last_message_id: int


class Deltas:
    """Moves messages of one batch between states, and adds the sums to the stats at the end."""

    def __init__(self, session: Session, batch: ClaimedBatch) -> None:
        self._session = session
        self._batch = batch
        self._stats: dict[str, int] = {}
        self._sms: dict[str, int] = {}

    def move(
        self,
        origin: MessageState,
        target: MessageState,
        *,
        ids: Collection[int] | None = None,
        **values: Any,
    ) -> int:
        """Move the batch's open messages (or those of `ids`) to a final or unknown state; returns how many moved.

        `origin` is what they count as now: `pending`, or `sending` with their batch.
        """
        statement = update(Message).where(*open_messages(self._batch))
        if ids is not None:
            statement = statement.where(Message.id.in_(ids))
        statement = statement.values(state=target, **values).execution_options(synchronize_session=False)
        moved = rowcount(self._session.execute(statement))
        self.count(origin, target, moved)
        if target is MessageState.EXCLUDED:
            key = reason_key(Breakdown.EXCLUDED, values["reason"])
            self._stats[key] = self._stats.get(key, 0) + moved
        return moved

    def count(self, origin: MessageState, target: MessageState, moved: int) -> None:
        self._stats[origin.value] = self._stats.get(origin.value, 0) - moved
        self._stats[target.value] = self._stats.get(target.value, 0) + moved

    def count_sms(self, sent: int, parts: int) -> None:
        self._sms["sent"] = self._sms.get("sent", 0) + sent
        self._sms["parts"] = self._sms.get("parts", 0) + parts

    def apply(self) -> None:
        """Last in the transaction: every lane wants the same rows."""
        move_stats(self._session, self._batch.execution_id, self._stats)
        move_sendmode_stats(self._session, self._batch.execution_id, self._sms)


def fence(
    session: Session,
    batch: ClaimedBatch,
    state_now: BatchState,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> None:
    """Change the batch if it still is in `state_now` under our token; every change of state passes here.

    Raises:
        StaleToken: somebody else decided about the batch.
    """
    changed = rowcount(
        session.execute(
            update(Batch)
            .where(Batch.id == batch.id, Batch.token == batch.token, Batch.state == state_now, *conditions)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )
    if changed != 1:
        raise StaleToken(batch.id, batch.token)


def open_messages(batch: ClaimedBatch) -> tuple[ColumnElement[bool], ...]:
    """The messages of the batch that are to be sent or being sent."""
    return (
        Message.id.between(batch.first_message_id, batch.last_message_id),
        # As a sum it offers no index: an optimizer that takes one reads the whole execution for each batch.
        Message.execution_id + 0 == batch.execution_id,
        Message.state == MessageState.PENDING,
    )


def count_open_messages(session: Session, batch: ClaimedBatch) -> int:
    """How many messages of the batch are to be sent or being sent; exact while the batch is held."""
    return session.scalars(select(func.count()).select_from(Message).where(*open_messages(batch))).one()


def hold_batches(session: Session, message_ids: Collection[int]) -> set[int]:
    """Hold the batches of these messages until the end of the transaction; returns the ids of those messages
    whose batch is in `sending`."""
    batch_of = _batches_of(session, message_ids)
    held: dict[int, BatchState] = {}
    while missing := set(batch_of.values()) - held.keys():
        held |= hold(session, missing)
        # One that was split before we held it has given some of its messages to another one.
        batch_of = _batches_of(session, message_ids)
    return {message_id for message_id, key in batch_of.items() if held[key] is BatchState.SENDING}


def hold(session: Session, batch_ids: Collection[int]) -> dict[int, BatchState]:
    """Hold these batches until the end of the transaction; returns their states."""
    rows = session.execute(
        select(Batch.id, Batch.state).where(Batch.id.in_(batch_ids)).order_by(Batch.id).with_for_update()
    )
    return dict(rows.tuples().all())


def _batches_of(session: Session, message_ids: Collection[int]) -> dict[int, int]:
    """The batch of each message: the last one that begins before it."""
    if not message_ids:
        return {}
    newest = (
        select(Batch.id)
        .where(Batch.execution_id == Message.execution_id, Batch.first_message_id <= Message.id)
        .order_by(Batch.first_message_id.desc())
        .limit(1)
        .correlate(Message)
        .scalar_subquery()
    )
    rows = session.execute(select(Message.id, newest).where(Message.id.in_(message_ids)))
    return {message_id: batch_id for message_id, batch_id in rows if batch_id is not None}


def list_sending_ranges(session: Session, execution_id: int) -> list[tuple[int, int]]:
    """(first, last) message ids of the batches of an execution that are in `sending`: at most one a lane."""
    rows = session.execute(
        select(Batch.first_message_id, Batch.last_message_id).where(
            Batch.execution_id == execution_id, Batch.state == BatchState.SENDING
        )
    )
    return [(first, last) for first, last in rows]


def inside(ranges: Collection[tuple[int, int]]) -> ColumnElement[bool]:
    """Condition: the message's id is in one of the ranges."""
    return or_(false(), *(Message.id.between(first, last) for first, last in ranges))


def rowcount(result: Any) -> int:
    """Matched rows of an UPDATE or DELETE; SQLAlchemy types results too widely."""
    return int(result.rowcount)
