"""Batches whose holder died: what becomes of them, by the database's clock."""

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import StaleToken
from db.models import Batch, ExecutionStep, FlowExecution
from db.queries.transitions import ClaimedBatch, Deltas, fence, rowcount
from db.states import BatchState, MessageState


def release_expired_claims(session: Session, execution_id: int) -> int:
    """Make batches due again whose holder died before `sending`. Returns their number."""
    return rowcount(
        session.execute(
            update(Batch)
            .where(
                Batch.execution_id == execution_id,
                Batch.state == BatchState.CLAIMED,
                Batch.lease_until < utc_now(),
            )
            .values(state=BatchState.PENDING, token=Batch.token + 1)
            .execution_options(synchronize_session=False)
        )
    )


def expire_sending(session: Session, execution_id: int) -> int:
    """Batches whose holder died in `sending`: never sent again, their messages become unknown. Returns batches."""
    rows = session.execute(
        select(Batch, ExecutionStep.channel, FlowExecution.flow_id)
        .join(ExecutionStep, ExecutionStep.id == Batch.step_id)
        .join(FlowExecution, FlowExecution.id == Batch.execution_id)
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.SENDING,
            Batch.lease_until < utc_now(),
        )
        .order_by(Batch.id)
    ).all()
    expired = 0
    for batch, channel, flow_id in rows:
        held = ClaimedBatch(
            id=batch.id,
            execution_id=execution_id,
            step_id=batch.step_id,
            flow_id=flow_id,
            channel=channel,
            token=batch.token,
            attempts=batch.attempts,
            first_message_id=batch.first_message_id,
            last_message_id=batch.last_message_id,
        )
        try:
            # The token grows, so that a holder that was only asleep cannot write its outcome over this one.
            fence(
                session,
                held,
                BatchState.SENDING,
                Batch.lease_until < utc_now(),
                state=BatchState.UNKNOWN,
                token=Batch.token + 1,
                error="the process that sent this batch ended before it recorded the answer",
            )
        except StaleToken:
            continue
        deltas = Deltas(session, held)
        deltas.move(MessageState.SENDING, MessageState.UNKNOWN)
        deltas.apply()
        expired += 1
    return expired


def next_due_in(session: Session, execution_id: int) -> float | None:
    """Seconds until a batch of the execution may be claimed or expires; None when none is left to wait for."""
    due = func.coalesce(
        case((Batch.state == BatchState.PENDING, Batch.not_before), else_=Batch.lease_until), utc_now()
    )
    earliest, now = session.execute(
        select(func.min(due), utc_now()).where(
            Batch.execution_id == execution_id,
            Batch.state.in_([BatchState.PENDING, BatchState.CLAIMED, BatchState.SENDING]),
        )
    ).one()
    return None if earliest is None else max((earliest - now).total_seconds(), 0.0)
