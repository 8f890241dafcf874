"""Schedules of flows: the truth about when a flow is sent; Prefect has a copy."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import NotFound
from db.models import Flow, FlowSchedule
from db.states import FlowState


def find_schedule(session: Session, flow_id: int) -> FlowSchedule | None:
    return session.scalars(select(FlowSchedule).where(FlowSchedule.flow_id == flow_id)).one_or_none()


def get_schedule(session: Session, flow_id: int) -> FlowSchedule:
    found = find_schedule(session, flow_id)
    if found is None:
        raise NotFound("schedule of flow", flow_id)
    return found


def upsert_schedule(session: Session, flow_id: int, values: dict[str, Any]) -> FlowSchedule:
    """Set the one schedule of a flow; Prefect's copy is out of date from then on."""
    schedule = find_schedule(session, flow_id) or FlowSchedule(flow_id=flow_id)
    for name, value in values.items():
        setattr(schedule, name, value)
    session.add(schedule)
    mark_unsynced(session, flow_id)
    session.flush()
    return schedule


def delete_schedule(session: Session, flow_id: int) -> None:
    get_schedule(session, flow_id)
    session.execute(delete(FlowSchedule).where(FlowSchedule.flow_id == flow_id))
    mark_unsynced(session, flow_id)


def list_due(session: Session, *, before: datetime, limit: int) -> Sequence[FlowSchedule]:
    """Schedules of active flows whose next occurrence has come, longest waiting first."""
    return session.scalars(
        select(FlowSchedule)
        .join(Flow, Flow.id == FlowSchedule.flow_id)
        .where(
            FlowSchedule.active.is_(True), FlowSchedule.next_run_at <= before, Flow.state == FlowState.ACTIVE
        )
        .order_by(FlowSchedule.next_run_at)
        .limit(limit)
    ).all()


def lock_due(session: Session, flow_id: int, due_at: datetime) -> FlowSchedule | None:
    """The flow's schedule, locked, if its next occurrence still is `due_at`; None if somebody took that one."""
    return session.scalars(
        select(FlowSchedule)
        .where(
            FlowSchedule.flow_id == flow_id, FlowSchedule.next_run_at == due_at, FlowSchedule.active.is_(True)
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def list_unsynced(session: Session, *, limit: int) -> Sequence[int]:
    """Ids of flows whose state Prefect has not got yet."""
    return session.scalars(
        select(Flow.id)
        .where(or_(Flow.deployment_synced_at.is_(None), Flow.deployment_synced_at < Flow.updated_at))
        .order_by(Flow.id)
        .limit(limit)
    ).all()


def list_active(session: Session) -> Sequence[int]:
    """Ids of all active flows."""
    return session.scalars(select(Flow.id).where(Flow.state == FlowState.ACTIVE).order_by(Flow.id)).all()


def mark_unsynced(session: Session, flow_id: int) -> None:
    _set_synced(session, flow_id, None)


def mark_synced(session: Session, flow_id: int, *, as_of: datetime) -> None:
    """Prefect has the flow as it was at `as_of` (its `updated_at` when it was read)."""
    _set_synced(session, flow_id, as_of)


def _set_synced(session: Session, flow_id: int, value: Any) -> None:
    # updated_at is kept: being synced is no change of the flow.
    session.execute(
        update(Flow)
        .where(Flow.id == flow_id)
        .values(deployment_synced_at=value, updated_at=Flow.updated_at if value is not None else utc_now())
        .execution_options(synchronize_session=False)
    )
