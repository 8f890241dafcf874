"""Sending a flow: now, by a schedule, or only as a dry run."""

from datetime import UTC, datetime

from fastapi import APIRouter, BackgroundTasks, Request

from api.abilities import Ability, needs
from api.auditing import note
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, SettingsDep
from api.errors import responses
from api.idempotency import trigger_of
from api.routers.flow_executions import read_execution
from api.schemas.dry_runs import DryRunOut
from api.schemas.flow_executions import ExecutionOut
from api.schemas.flows import ScheduleIn, ScheduleOut
from db.engine import Session
from db.errors import Conflict, Invalid
from db.models import FlowExecution
from db.queries import executions, flows, schedules
from db.states import FlowState
from tasks.orchestration.sync import dispatch_execution, sync_flow
from tasks.scheduling.recurrence import next_occurrence, parse_recurrence
from tasks.sending.configuration import require_provider
from tasks.sending.dry_run import dry_run
from tasks.sending.readiness import refusal_of

router = APIRouter(prefix="/api/flows", tags=["flows"])


@router.post(
    "/{flow_id}/send",
    status_code=202,
    responses=responses(404, 409),
    dependencies=[needs(Ability.FLOWS_SEND)],
)
def send_flow(
    connection: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    flow_id: ItemId,
) -> ExecutionOut:
    """Send the flow now. The execution is stored before the answer: should Prefect be away, it is sent later."""

    def work(session: Session) -> FlowExecution:
        flow = flows.get_flow(session, flow_id)
        refusal = refusal_of(flow.state)
        if refusal is not None:
            raise Conflict(refusal)
        channel = flows.find_channel(session, flow_id)
        if channel is not None:
            require_provider(settings, channel)
        return executions.insert_execution(
            session,
            flow,
            trigger_key=trigger_of(connection, caller.id),
            requested_by=caller.who,
            requested_by_user_id=caller.user_id,
        )

    execution = database.run(work)
    note(connection, execution_id=execution.id)
    background.add_task(dispatch_execution, database, execution.id)
    return read_execution(database, execution.id)


@router.post("/{flow_id}/dry-run", responses=responses(404), dependencies=[needs(Ability.FLOWS_READ)])
def dry_run_flow(database: DatabaseDep, settings: SettingsDep, flow_id: ItemId) -> DryRunOut:
    """What a send would do now: who would get it and who not, and why; sizes, requests and time. Nothing is written.

    A flow of any state can be asked about; `problems` names everything that keeps it from being sent. Sizes are those of
    up to 1,000 rendered recipients, spread evenly over the audience.
    """
    return DryRunOut.of(dry_run(database, settings, flow_id))


@router.get("/{flow_id}/schedule", responses=responses(404), dependencies=[needs(Ability.FLOWS_READ)])
def get_schedule(database: DatabaseDep, flow_id: ItemId) -> ScheduleOut:
    with database.reading() as session:
        return ScheduleOut.model_validate(schedules.get_schedule(session, flow_id))


@router.put("/{flow_id}/schedule", responses=responses(404, 409), dependencies=[needs(Ability.FLOWS_SEND)])
def set_schedule(
    database: DatabaseDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    flow_id: ItemId,
    body: ScheduleIn,
) -> ScheduleOut:
    """Set when the flow is sent by itself; Prefect's deployment follows."""
    recurrence = parse_recurrence(body.kind, body.expression, body.time_zone, body.starts_at)
    next_run_at = next_occurrence(recurrence, datetime.now(UTC))
    if next_run_at is None:
        raise Invalid("expression", "has no occurrence in the future")

    def work(session: Session) -> ScheduleOut:
        flow = flows.get_flow(session, flow_id)
        if flow.state is FlowState.ARCHIVED:
            raise Conflict("an archived flow cannot be scheduled")
        values = body.model_dump() | {"expression": recurrence.expression, "next_run_at": next_run_at}
        values |= {"set_by": caller.who[:80], "set_by_user_id": caller.user_id}
        return ScheduleOut.model_validate(schedules.upsert_schedule(session, flow_id, values))

    schedule = database.run(work)
    background.add_task(sync_flow, database, flow_id)
    return schedule


@router.delete(
    "/{flow_id}/schedule", status_code=204, responses=responses(404), dependencies=[needs(Ability.FLOWS_SEND)]
)
def delete_schedule(database: DatabaseDep, background: BackgroundTasks, flow_id: ItemId) -> None:
    """Send the flow only when somebody asks."""
    database.run(lambda s: schedules.delete_schedule(s, flow_id))
    background.add_task(sync_flow, database, flow_id)
