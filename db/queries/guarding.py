"""What the guard (`tasks/feedback/guard.py`) knows of executions, and what it does to them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.models import FlowExecution, Stats
from db.queries.executions import lock_execution, set_state
from db.queries.stats import numbers_of
from db.states import ExecutionState


@dataclass(frozen=True)
class Guarded:
    """An execution about which something may have to be said or done. `counts` are those of `stats`."""

    id: int
    is_warned: bool
    may_pause: bool
    counts: dict[str, int]


def list_guarded(session: Session, execution_ids: Collection[int]) -> Sequence[Guarded]:
    """Those of the executions that were not warned about yet, or that may be paused, with their counts as they are now."""
    rows = session.execute(
        select(FlowExecution.id, FlowExecution.warning, FlowExecution.is_guarded, FlowExecution.state, Stats)
        .join(Stats, Stats.execution_id == FlowExecution.id)
        .where(FlowExecution.id.in_(list(execution_ids)))
        .order_by(FlowExecution.id)
        .execution_options(populate_existing=True)
    )
    found = [
        Guarded(key, warning is not None, is_guarded and state is ExecutionState.SENDING, numbers_of(stats))
        for key, warning, is_guarded, state, stats in rows
    ]
    return [each for each in found if each.may_pause or not each.is_warned]


def warn_execution(session: Session, execution_id: int, warning: str) -> None:
    """Say what is wrong, unless something was said before."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id, FlowExecution.warning.is_(None))
        .values(warning=warning)
        .execution_options(synchronize_session=False)
    )


def pause_by_guard(session: Session, execution_id: int, warning: str) -> bool:
    """Stop before the next batch, with the warning as the reason; False when the execution is not sending any more, or a person
    took the guard off."""
    execution = lock_execution(session, execution_id)
    if execution.state is not ExecutionState.SENDING or not execution.is_guarded:
        return False
    set_state(session, execution_id, ExecutionState.PAUSED, reason=warning, warning=warning)
    return True
