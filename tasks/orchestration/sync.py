"""Keeps Prefect in step with our database: deployments of flows, runs of executions, imports and bulk operations.

Our database is the truth, Prefect follows. Whatever Prefect does not get now, because it is away, it gets from the
scheduled dispatcher later; so nothing here raises for a Prefect that cannot be reached.
"""

from datetime import datetime

import structlog

from db.engine import Database, Session
from db.models import Flow, FlowSchedule
from db.queries import bulk, dispatching, imports, schedules
from db.queries.flows import find_channel, get_flow
from db.states import Channel, FlowState
from tasks.orchestration import prefect_api
from tasks.orchestration.prefect_api import OrchestratorUnavailable

log = structlog.get_logger()


def dispatch_execution(database: Database, execution_id: int) -> bool:
    """Ask Prefect for a run of the execution; False when it cannot be reached and the dispatcher has to."""

    def count(session: Session) -> tuple[int, str, int, int, str, Channel]:
        execution = dispatching.next_attempt(session, execution_id)
        flow = get_flow(session, execution.flow_id)
        channel = find_channel(session, flow.id) or Channel.EMAIL
        return execution.id, execution.uid, execution.attempt, flow.id, flow.name, channel

    key, uid, attempt, flow_id, name, channel = database.run(count)
    try:
        run_id = prefect_api.create_execution_run(
            flow_id=flow_id,
            execution_id=key,
            execution_uid=uid,
            attempt=attempt,
            flow_name=name,
            channel=channel,
        )
    except OrchestratorUnavailable as error:
        log.warning("execution waits for the dispatcher", execution_id=execution_id, error=str(error))
        database.run(lambda s: dispatching.release_dispatch(s, execution_id))
        return False
    database.run(lambda s: dispatching.record_dispatch(s, execution_id, run_id))
    return True


def dispatch_import(database: Database, import_id: int) -> bool:
    """Ask Prefect for a run of the import; False when it cannot be reached and the dispatcher has to."""
    attempt, uid = database.run(lambda s: imports.next_attempt(s, import_id))
    try:
        run_id = prefect_api.create_import_run(import_id=import_id, import_uid=uid, attempt=attempt)
    except OrchestratorUnavailable as error:
        log.warning("import waits for the dispatcher", import_id=import_id, error=str(error))
        database.run(lambda s: imports.release_dispatch(s, import_id))
        return False
    database.run(lambda s: imports.record_dispatch(s, import_id, run_id))
    return True


def dispatch_bulk_operation(database: Database, operation_id: int) -> bool:
    """Ask Prefect for a run of the bulk operation; False when it cannot be reached and the dispatcher has to."""
    attempt, uid = database.run(lambda s: bulk.next_attempt(s, operation_id))
    try:
        run_id = prefect_api.create_bulk_run(operation_id=operation_id, operation_uid=uid, attempt=attempt)
    except OrchestratorUnavailable as error:
        log.warning("bulk operation waits for the dispatcher", operation_id=operation_id, error=str(error))
        database.run(lambda s: bulk.release_dispatch(s, operation_id))
        return False
    database.run(lambda s: bulk.record_dispatch(s, operation_id, run_id))
    return True


def sync_flow(database: Database, flow_id: int) -> bool:
    """Give Prefect the flow's deployment as the database has it; False when Prefect cannot be reached."""
    with database.reading() as session:
        flow = session.get(Flow, flow_id)
        schedule = schedules.find_schedule(session, flow_id)
        channel = find_channel(session, flow_id)
    try:
        if flow is None or flow.state is FlowState.ARCHIVED:
            prefect_api.delete_flow_deployment(flow_id)
        elif flow.state is FlowState.ACTIVE and channel is not None:
            _upsert(flow, channel, schedule)
    except OrchestratorUnavailable as error:
        log.warning("deployment waits for the dispatcher", flow_id=flow_id, error=str(error))
        return False
    if flow is not None:
        as_of: datetime = flow.updated_at
        database.run(lambda s: schedules.mark_synced(s, flow_id, as_of=as_of))
    return True


def _upsert(flow: Flow, channel: Channel, schedule: FlowSchedule | None) -> None:
    prefect_api.upsert_flow_deployment(
        flow.id, name=flow.name, channel=channel, schedule=prefect_api.schedule_of(schedule)
    )
