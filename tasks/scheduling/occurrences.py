"""Opens executions for occurrences of schedules and for runs that people start in Prefect, each exactly once."""

from datetime import UTC, datetime

import structlog

from db.engine import Database, Session
from db.errors import Conflict
from db.models import FlowExecution, FlowSchedule
from db.queries import audit, dispatching, executions, schedules
from db.queries.flows import get_flow
from db.states import ExecutionState, FlowState
from settings import get_settings
from tasks.access.abilities import Ability
from tasks.scheduling.missed import Decision, decide
from tasks.scheduling.recurrence import Recurrence, next_occurrence

log = structlog.get_logger()
_OPENED = 202
"""What `POST /api/flows/{id}/send` answers."""


def open_started(database: Database, flow_id: int, flow_run_id: str) -> int:
    """The execution of a run that a person started in Prefect's UI; the same run again gets the same one.

    Raises:
        Conflict: the flow is not active.
    """

    def work(session: Session) -> int:
        flow = get_flow(session, flow_id)
        if flow.state is not FlowState.ACTIVE:
            raise Conflict(f"flow {flow_id} is {flow.state}; only an active flow can be sent")
        trigger = f"run:{flow_run_id}"
        is_new = executions.find_by_trigger(session, flow_id, trigger) is None
        execution = executions.insert_execution(session, flow, trigger_key=trigger, requested_by="Prefect")
        dispatching.claim_dispatch(session, execution.id, flow_run_id)
        if is_new:
            _keep(session, execution, "Prefect")
        return execution.id

    return database.run(work)


def open_scheduled(
    database: Database, flow_id: int, due_at: datetime, flow_run_id: str | None = None
) -> int | None:
    """The execution of a schedule's occurrence, None when it was handled already or is not to be sent now.

    Our row of the schedule decides: whichever of Prefect's run and the dispatcher comes first takes the occurrence
    and moves the schedule on, in one transaction.
    """
    now = datetime.now(UTC)

    def work(session: Session) -> int | None:
        schedule = schedules.lock_due(session, flow_id, due_at)
        if schedule is None:
            return None
        return _take(session, schedule, due_at, now, flow_run_id)

    return database.run(work)


def open_due(database: Database, *, limit: int = 100) -> list[int]:
    """Open executions for all occurrences that have come; returns those to dispatch."""
    with database.reading() as session:
        due = [
            (s.flow_id, s.next_run_at)
            for s in schedules.list_due(session, before=datetime.now(UTC), limit=limit)
        ]
    opened = (open_scheduled(database, flow_id, due_at) for flow_id, due_at in due if due_at)
    return [execution_id for execution_id in opened if execution_id is not None]


def _take(
    session: Session, schedule: FlowSchedule, due_at: datetime, now: datetime, flow_run_id: str | None
) -> int | None:
    recurrence = Recurrence(schedule.kind, schedule.expression, schedule.time_zone, schedule.starts_at)
    # Several occurrences missed in one outage are one decision: the next one lies in the future.
    schedule.next_run_at = next_occurrence(recurrence, max(due_at, now))
    grace = get_settings().missed_grace_seconds
    decision = decide(due_at, now, grace_seconds=grace, policy=schedule.missed_policy)
    if decision is Decision.SKIP:
        schedule.last_skipped_at = due_at
        log.warning("missed send skipped", flow_id=schedule.flow_id, due_at=due_at.isoformat())
        return None
    schedule.last_run_at = due_at
    asked = decision is Decision.ASK
    by = f"schedule of {schedule.set_by}" if schedule.set_by else "schedule"
    execution = executions.insert_execution(
        session,
        get_flow(session, schedule.flow_id),
        trigger_key=f"at:{due_at.isoformat()}",
        scheduled_for=due_at,
        state=ExecutionState.HELD if asked else ExecutionState.QUEUED,
        reason="its moment was missed: resume it to send it now, or cancel it" if asked else None,
        requested_by=by,
        requested_by_user_id=schedule.set_by_user_id,
    )
    _keep(session, execution, by)
    if asked:
        return None
    if flow_run_id is not None:
        dispatching.claim_dispatch(session, execution.id, flow_run_id)
    return execution.id


def _keep(session: Session, execution: FlowExecution, who: str) -> None:
    """In the audit log, together with the execution: there is no request whose entry would tell of it."""
    subject = {"flow_id": execution.flow_id, "execution_id": execution.id}
    entry = audit.NewEntry(who, Ability.FLOWS_SEND, subject=subject)
    audit.insert_done(session, entry, _OPENED, {"state": execution.state})
