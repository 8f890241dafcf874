"""What listeners are shown of executions: state and all counts, of many executions at once."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Flow, FlowExecution, SendmodeStats, Stats, StatsReason
from db.queries.stats import columns_of
from db.states import ExecutionState


@dataclass
class Picture:
    """An execution at one moment. Counts are empty before the snapshot of its audience."""

    execution_id: int
    flow_name: str
    state: ExecutionState
    reason: str | None
    warning: str | None
    started_at: datetime | None
    finished_at: datetime | None
    messages: dict[str, int] = field(default_factory=dict)
    sms: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)


def list_pictures(session: Session, execution_ids: Collection[int]) -> dict[int, Picture]:
    """By id; four statements, however many there are. Those that do not exist are left out."""
    ids = list(execution_ids)
    columns = (
        FlowExecution.id,
        Flow.name,
        FlowExecution.state,
        FlowExecution.reason,
        FlowExecution.warning,
        FlowExecution.started_at,
        FlowExecution.finished_at,
    )
    rows = session.execute(
        select(*columns).join(Flow, Flow.id == FlowExecution.flow_id).where(FlowExecution.id.in_(ids))
    )
    found = {row.id: Picture(*row) for row in rows}
    for stats in session.scalars(select(Stats).where(Stats.execution_id.in_(ids))):
        found[stats.execution_id].messages = {name: getattr(stats, name) for name in columns_of(Stats)}
    for sms in session.scalars(select(SendmodeStats).where(SendmodeStats.execution_id.in_(ids))):
        found[sms.execution_id].sms = {name: getattr(sms, name) for name in columns_of(SendmodeStats)}
    reasons = select(StatsReason).where(StatsReason.execution_id.in_(ids), StatsReason.count != 0)
    for row in session.scalars(reasons.order_by(StatsReason.breakdown, StatsReason.reason)):
        breakdown = found[row.execution_id].reasons.setdefault(row.breakdown.value, {})
        breakdown[row.reason] = row.count
    return found
