"""Which executions need a Prefect run, and which run was asked for last. What a run does then is no matter of these."""

from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.models import FlowExecution
from db.queries.executions import UNFINISHED


def list_undispatched(
    session: Session, *, limit: int, orphan_seconds: int, grace_seconds: int = 5
) -> Sequence[int]:
    """Executions that need a Prefect run: queued or resumed ones nobody asked for, and those whose run died.

    `grace_seconds` leaves the process that inserted the row the time to ask for the run itself. A run that was
    asked for but has shown no heartbeat within `orphan_seconds` counts as dead; a needless second run is harmless.
    """
    last_sign = func.coalesce(FlowExecution.heartbeat_at, FlowExecution.dispatched_at)
    stale = and_(
        FlowExecution.state.in_(UNFINISHED),
        or_(
            and_(last_sign.is_(None), FlowExecution.updated_at < utc_in(-grace_seconds)),
            last_sign < utc_in(-orphan_seconds),
        ),
    )
    return session.scalars(
        select(FlowExecution.id).where(stale).order_by(FlowExecution.id).limit(limit)
    ).all()


def list_flow_runs(session: Session, execution_ids: Sequence[int]) -> dict[int, str]:
    """The last Prefect flow run of each execution that has one and was not released since."""
    rows = session.execute(
        select(FlowExecution.id, FlowExecution.prefect_flow_run_id).where(
            FlowExecution.id.in_(execution_ids),
            FlowExecution.prefect_flow_run_id.is_not(None),
            FlowExecution.dispatched_at.is_not(None),
        )
    )
    return {key: run_id for key, run_id in rows if run_id is not None}


def list_spent(session: Session, *, among: Sequence[int], most_runs: int) -> Sequence[int]:
    """Those of the executions that had this many runs since their last progress."""
    return session.scalars(
        select(FlowExecution.id)
        .where(FlowExecution.id.in_(among), FlowExecution.idle_runs >= most_runs)
        .order_by(FlowExecution.id)
    ).all()


def next_attempt(session: Session, execution_id: int) -> FlowExecution:
    """Count one more Prefect run that is about to be asked for. The last sign of life stays known."""
    last_sign = func.coalesce(FlowExecution.heartbeat_at, FlowExecution.waiting_since)
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        # In this order: MySQL reads what an assignment before has written.
        .ordered_values(
            (FlowExecution.waiting_since, last_sign),
            (FlowExecution.attempt, FlowExecution.attempt + 1),
            (FlowExecution.heartbeat_at, None),
            (FlowExecution.dispatched_at, utc_now()),
        )
        .execution_options(synchronize_session=False)
    )
    return session.get_one(FlowExecution, execution_id, populate_existing=True)


def claim_dispatch(session: Session, execution_id: int, flow_run_id: str) -> None:
    """A run of Prefect takes the execution by itself: the dispatcher need not ask for one."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(
            attempt=FlowExecution.attempt + 1,
            idle_runs=FlowExecution.idle_runs + 1,
            dispatched_at=utc_now(),
            prefect_flow_run_id=flow_run_id,
        )
        .execution_options(synchronize_session=False)
    )


def record_dispatch(session: Session, execution_id: int, flow_run_id: str) -> None:
    """Prefect took the run: one more that has to show some progress."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(prefect_flow_run_id=flow_run_id, idle_runs=FlowExecution.idle_runs + 1)
        .execution_options(synchronize_session=False)
    )


def release_dispatch(session: Session, execution_id: int) -> None:
    """Prefect could not be reached: leave the execution to the dispatcher."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(dispatched_at=None)
        .execution_options(synchronize_session=False)
    )
