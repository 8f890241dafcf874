"""The ledger of an execution piece by piece, by the ids of its messages."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import Message
from db.states import ENGAGEMENT


def find_range(session: Session, execution_id: int) -> tuple[int, int] | None:
    """The first and the last id of its messages; None for an execution without any."""
    row = session.execute(
        select(func.min(Message.id), func.max(Message.id)).where(Message.execution_id == execution_id)
    ).one()
    return None if row[0] is None else (row[0], row[1])


def list_engaged(session: Session, execution_id: int, first: int, last: int) -> list[int]:
    """Messages with ids from `first` to `last` that somebody, or a machine, opened or clicked."""
    return list(
        session.scalars(
            select(Message.id)
            .where(
                Message.id.between(first, last),
                # As a sum it offers no index: the range of ids is the shorter way.
                Message.execution_id + 0 == execution_id,
                Message.feedback.bitwise_and(int(ENGAGEMENT)) != 0,
            )
            .order_by(Message.id)
        )
    )
