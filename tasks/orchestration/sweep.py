"""What the dispatcher looks for: executions and imports that nobody works on, and flows Prefect does not know yet."""

from db.engine import Database
from db.queries import dispatching, imports, schedules
from settings import get_settings
from tasks.orchestration.prefect_api import RunState, run_state
from tasks.orchestration.sync import dispatch_execution, dispatch_import, sync_flow

LIMIT = 100


def dispatch_all(database: Database) -> int:
    """Dispatch what is queued, resumed or orphaned; returns how many runs were asked for."""
    orphan_seconds = get_settings().orphan_seconds
    with database.reading() as session:
        waiting = dispatching.list_undispatched(session, limit=LIMIT, orphan_seconds=orphan_seconds)
        cut = imports.list_undispatched_imports(session, limit=LIMIT, orphan_seconds=orphan_seconds)
        runs = dispatching.list_flow_runs(session, waiting)
    asked = [dispatch_execution(database, key) for key in waiting if not _is_late(runs.get(key))]
    return sum(asked) + sum(dispatch_import(database, key) for key in cut)


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
