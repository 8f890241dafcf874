"""What the scheduled closing of executions looks for: dead holders, evidence that was not applied, and the end."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.models import Batch, Event, FailedJob, FlowExecution, Message, Stats
from db.queries.executions import lock_execution, with_state
from db.queries.unknown import count_unknown
from db.states import BatchState, ExecutionState, JobKind, JobState, MessageState

_OPEN = (ExecutionState.SENDING, ExecutionState.SETTLING, ExecutionState.PAUSED)
_HELD = (BatchState.CLAIMED, BatchState.SENDING)
_OVER = (BatchState.UNKNOWN, BatchState.DONE, BatchState.FAILED)
_STOPPED = (ExecutionState.PAUSED, ExecutionState.CANCELLED)


def list_closable(session: Session, *, after: int, limit: int, window: timedelta) -> Sequence[int]:
    """Executions with something to close, by id: batches whose lease ran out, unknown messages with stored events or
    older than the evidence window, or nothing left to do.

    Cancelled ones too, since their last batches may still be on their way. Each costs a look into an index.
    """
    own = Batch.execution_id == FlowExecution.id
    has_dead = exists().where(own, Batch.state.in_(_HELD), Batch.lease_until < utc_now())
    # An SMS batch may have unknown messages and others that are due, which nobody claims in an execution that is stopped.
    rests = or_(Batch.state.in_(_OVER), FlowExecution.state.in_(_STOPPED))
    has_old = exists().where(own, rests, Batch.updated_at <= utc_in(-window.total_seconds()))
    is_unknown = (
        Message.execution_id == FlowExecution.id,
        Message.special_state == MessageState.UNKNOWN.value,
    )
    has_evidence = exists().where(*is_unknown, Event.message_id == Message.id)
    return session.scalars(
        select(FlowExecution.id)
        .join(Stats, Stats.execution_id == FlowExecution.id)
        .where(
            FlowExecution.state.in_([*_OPEN, ExecutionState.CANCELLED]),
            FlowExecution.id > after,
            or_(
                has_dead,
                _is_over(),
                and_(Stats.unknown > 0, or_(and_(has_old, ~_is_reported()), has_evidence)),
            ),
        )
        .order_by(FlowExecution.id)
        .limit(limit)
    ).all()


def list_stored_evidence(session: Session, execution_id: int, *, limit: int) -> Sequence[tuple[int, str]]:
    """(message id, kind) of the stored events about up to `limit` unknown messages of the execution."""
    proven = (
        select(Message.id)
        .where(
            *with_state(execution_id, MessageState.UNKNOWN), exists().where(Event.message_id == Message.id)
        )
        .order_by(Message.id)
        .limit(limit)
        .subquery("proven")
    )
    # All events of a message, or none: those left out would never be counted.
    query = select(Event.message_id, Event.kind).join(proven, proven.c.id == Event.message_id).distinct()
    return [(message_id, kind) for message_id, kind in session.execute(query) if message_id is not None]


def report_overdue(session: Session, execution_id: int, *, window: timedelta) -> bool:
    """Keep a failed job when messages are still unknown after the evidence window; False when there is nothing to
    report, or an open job says so already."""
    # Two runs at once must not both keep one.
    lock_execution(session, execution_id)
    is_reported = select(_is_reported()).where(FlowExecution.id == execution_id)
    if session.scalars(is_reported).one():
        return False
    found = count_unknown(session, execution_id, window=window)
    if not found.overdue:
        return False
    hours = window.total_seconds() / 3600
    path = f"/api/flow-executions/{execution_id}/unknown"
    session.add(
        FailedJob(
            kind=JobKind.UNKNOWN_OUTCOME,
            execution_id=execution_id,
            subject={"execution_id": execution_id},
            error=(
                f"{found.overdue} messages have an unknown outcome, and no evidence came within {hours:g} hours. "
                f"Send them again (POST {path}/resend) or write them off (POST {path}/close)."
            ),
        )
    )
    session.flush()
    return True


def _is_over() -> ColumnElement[bool]:
    """By its counts the execution has nothing to send; a settling one has nothing unknown either."""
    return and_(
        Stats.pending + Stats.sending == 0,
        or_(
            FlowExecution.state == ExecutionState.SENDING,
            and_(FlowExecution.state == ExecutionState.SETTLING, Stats.unknown == 0),
        ),
    )


def _is_reported() -> ColumnElement[bool]:
    return exists().where(
        FailedJob.execution_id == FlowExecution.id,
        FailedJob.kind == JobKind.UNKNOWN_OUTCOME,
        FailedJob.state == JobState.OPEN,
    )
