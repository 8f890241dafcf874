"""What the dispatcher looks for: executions, imports and bulk operations that nobody works on, and flows Prefect does not know yet."""

from functools import partial

import structlog

from db.engine import Database, Session
from db.queries import bulk, dispatching, executions, import_files, imports, schedules
from settings import get_settings
from tasks.orchestration.prefect_api import RunState, run_state
from tasks.orchestration.sync import dispatch_bulk_operation, dispatch_execution, dispatch_import, sync_flow

log = structlog.get_logger()
LIMIT = 100


def dispatch_all(database: Database) -> int:
    """Dispatch what is queued, resumed or orphaned; returns how many runs were asked for.

    What had `ICS_MAX_RUN_ATTEMPTS` runs without any progress is not dispatched again: it becomes a failed job.
    """
    database.run(delete_left_files)
    return _dispatch_executions(database) + _dispatch_imports(database) + _dispatch_bulk_operations(database)


def delete_left_files(session: Session) -> None:
    """Delete the files of dry runs that nobody imported in time."""
    import_files.delete_left_files(session, older_than_hours=get_settings().dry_run_file_hours)


def _dispatch_executions(database: Database) -> int:
    settings = get_settings()
    most_runs = settings.max_run_attempts
    with database.reading() as session:
        waiting = dispatching.list_undispatched(session, limit=LIMIT, orphan_seconds=settings.orphan_seconds)
        runs = dispatching.list_flow_runs(session, waiting)
        spent = dispatching.list_spent(session, among=waiting, most_runs=most_runs)
    dead = [key for key in waiting if not _is_late(runs.get(key))]
    for key in dead:
        give_up = partial(executions.give_up_execution, execution_id=key, most_runs=most_runs)
        if key in spent and database.run(give_up):
            log.error("execution given up", execution_id=key, flow_run_id=runs.get(key))
    return sum(dispatch_execution(database, key) for key in dead if key not in spent)


def _dispatch_imports(database: Database) -> int:
    settings = get_settings()
    most_runs = settings.max_run_attempts
    with database.reading() as session:
        waiting = imports.list_undispatched_imports(
            session, limit=LIMIT, orphan_seconds=settings.orphan_seconds
        )
        runs = imports.list_flow_runs(session, waiting)
        spent = imports.list_spent(session, among=waiting, most_runs=most_runs)
    dead = [key for key in waiting if not _is_late(runs.get(key))]
    for key in dead:
        give_up = partial(imports.give_up_import, import_id=key, most_runs=most_runs)
        if key in spent and database.run(give_up):
            log.error("import given up", import_id=key, flow_run_id=runs.get(key))
    return sum(dispatch_import(database, key) for key in dead if key not in spent)


def _dispatch_bulk_operations(database: Database) -> int:
    settings = get_settings()
    most_runs = settings.max_run_attempts
    with database.reading() as session:
        waiting = bulk.list_undispatched(session, limit=LIMIT, orphan_seconds=settings.orphan_seconds)
        runs = bulk.list_flow_runs(session, waiting)
        spent = bulk.list_spent(session, among=waiting, most_runs=most_runs)
    dead = [key for key in waiting if not _is_late(runs.get(key))]
    for key in dead:
        give_up = partial(bulk.give_up_operation, operation_id=key, most_runs=most_runs)
        if key in spent and database.run(give_up):
            log.error("bulk operation given up", operation_id=key, flow_run_id=runs.get(key))
    return sum(dispatch_bulk_operation(database, key) for key in dead if key not in spent)


def sync_all(database: Database) -> int:
    with database.reading() as session:
        unsynced = schedules.list_unsynced(session, limit=LIMIT)
    return sum(sync_flow(database, flow_id) for flow_id in unsynced)


def sync_active(database: Database) -> int:
    """Give Prefect the deployments of all active flows, for a Prefect that has lost or never had them."""
    with database.reading() as session:
        active = schedules.list_active(session)
    return sum(sync_flow(database, flow_id) for flow_id in active)


def _is_late(flow_run_id: str | None) -> bool:
    """A run that Prefect has not begun, since all workers are busy or away, is late and not dead."""
    return flow_run_id is not None and run_state(flow_run_id) in (RunState.SCHEDULED, RunState.PENDING)
