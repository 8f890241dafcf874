"""Ways to break the engine on purpose, in a worker's process only: the suite has to fail under each of them."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.models import Batch, Message
from db.queries import leases, ledger
from db.queries.stats import move_stats
from db.queries.transitions import ClaimedBatch, rowcount
from db.states import BatchState, Exclusion, MessageState

VARIABLE = "ICS_FAULT_SABOTAGE"


class Sabotage(StrEnum):
    RECLAIM_SENDING = "reclaim-sending"
    SKIP_SUPPRESSIONS = "skip-suppressions"
    ASSUME_ACCEPTED = "assume-accepted"


def commit(sabotage: Sabotage) -> None:
    """Replace the function of the product that the sabotage is about."""
    _WAYS[sabotage]()


def _reclaim_sending() -> None:
    """What most queues do: a batch whose holder is silent for longer than its lease is given to somebody else."""
    leases.expire_sending = _reclaim


def _reclaim(session: Session, execution_id: int) -> int:
    expired = _list_expired(session, execution_id)
    for batch_id, first, last in expired:
        _move(session, batch_id, BatchState.PENDING)
        count = session.scalars(
            select(func.count())
            .select_from(Message)
            .where(Message.id.between(first, last), Message.state == MessageState.PENDING)
        ).one()
        move_stats(session, execution_id, {"sending": -count, "pending": count})
    return len(expired)


def _assume_accepted() -> None:
    """The hope that what was on its way has arrived: nobody is in doubt, and somebody gets nothing."""
    leases.expire_sending = _assume


def _assume(session: Session, execution_id: int) -> int:
    expired = _list_expired(session, execution_id)
    for batch_id, first, last in expired:
        _move(session, batch_id, BatchState.DONE)
        moved = rowcount(
            session.execute(
                update(Message)
                .where(Message.id.between(first, last), Message.state == MessageState.PENDING)
                .values(state=MessageState.ACCEPTED)
                .execution_options(synchronize_session=False)
            )
        )
        move_stats(session, execution_id, {"sending": -moved, "accepted": moved})
    return len(expired)


def _list_expired(session: Session, execution_id: int) -> Sequence[Row[tuple[int, int, int]]]:
    """(id, first message, last message) of batches whose holder died in `sending`; held until the commit."""
    return session.execute(
        select(Batch.id, Batch.first_message_id, Batch.last_message_id)
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.SENDING,
            Batch.lease_until < utc_now(),
        )
        .with_for_update()
    ).all()


def _move(session: Session, batch_id: int, state: BatchState) -> None:
    session.execute(
        update(Batch)
        .where(Batch.id == batch_id)
        .values(state=state, token=Batch.token + 1, lease_until=None)
        .execution_options(synchronize_session=False)
    )


def _skip_suppressions() -> None:
    """Trust the snapshot: whoever unsubscribes after it is written to."""

    def nobody(session: Session, batch: ClaimedBatch) -> dict[int, Exclusion]:
        return {}

    ledger._suppressed_now = nobody


_WAYS: Mapping[Sabotage, Callable[[], None]] = {
    Sabotage.RECLAIM_SENDING: _reclaim_sending,
    Sabotage.SKIP_SUPPRESSIONS: _skip_suppressions,
    Sabotage.ASSUME_ACCEPTED: _assume_accepted,
}
