"""Flow executions: what runs, what became of it, and how to stop it."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query, Request
from fastapi.responses import Response

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, OptionalId, PageDep, SettingsDep
from api.errors import responses
from api.etags import with_etag
from api.schemas.base import PageOut
from api.schemas.flow_executions import ExecutionItem, ExecutionOut, ExecutionStats, MessageOut
from api.schemas.statistics import StatsBlocks
from db.engine import Database
from db.errors import Conflict
from db.queries import executions, webhooks
from db.queries.recount import recount
from db.queries.stats import find_counts
from db.queries.unknown import find_oldest_unknown
from db.states import ExecutionState, MessageState
from settings import Settings
from tasks.orchestration.sync import dispatch_execution

router = APIRouter(prefix="/api/flow-executions", tags=["flow executions"])
_POLLED: dict[int | str, dict[str, Any]] = {304: {"description": "Not Modified"}, **responses(404)}


@router.get("", dependencies=[needs(Ability.EXECUTIONS_READ)])
def list_executions(
    database: DatabaseDep,
    page: PageDep,
    flow_id: OptionalId = None,
    state: Annotated[ExecutionState | None, Query()] = None,
) -> PageOut[ExecutionItem]:
    with database.reading() as session:
        return PageOut[ExecutionItem].of(
            executions.list_executions(
                session, after=page.cursor, limit=page.limit, flow_id=flow_id, state=state
            )
        )


@router.get(
    "/{execution_id}",
    response_model=ExecutionOut,
    responses=_POLLED,
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def get_execution(request: Request, database: DatabaseDep, execution_id: ItemId) -> Response:
    """State and counts. With `If-None-Match` 304 as long as they are the same."""
    return with_etag(request, read_execution(database, execution_id))


@router.get(
    "/{execution_id}/stats",
    response_model=ExecutionStats,
    responses=_POLLED,
    dependencies=[needs(Ability.EXECUTIONS_READ)],
)
def get_stats(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    execution_id: ItemId,
    verify: Annotated[bool, Query(description="Also recount the ledger and compare; slow.")] = False,
) -> Response:
    """All counts of an execution, and its rates; as fast for a million messages as for ten. With `If-None-Match` 304 as long as they
    are the same."""
    return with_etag(request, _read_stats(database, settings, execution_id, verify=verify))


def _read_stats(database: Database, settings: Settings, execution_id: int, *, verify: bool) -> ExecutionStats:
    with database.reading() as session:
        executions.get_execution(session, execution_id)
        counts = find_counts(session, execution_id)
        is_unknown = counts.messages[MessageState.UNKNOWN.value] > 0
        oldest = find_oldest_unknown(session, execution_id) if is_unknown else None
        blocks = StatsBlocks.blocks_of(counts, price=settings.sms_part_price, currency=settings.sms_currency)
        return ExecutionStats(
            **dict(blocks),
            execution_id=execution_id,
            messages=counts.messages,
            sms=counts.sms,
            exclusions=counts.exclusions,
            oldest_unknown_seconds=oldest,
            webhooks_waiting=webhooks.count_unapplied(session),
            is_equal_to_recount=counts == recount(session, execution_id) if verify else None,
        )


@router.get(
    "/{execution_id}/messages", responses=responses(404), dependencies=[needs(Ability.EXECUTIONS_READ)]
)
def list_messages(
    database: DatabaseDep,
    execution_id: ItemId,
    page: PageDep,
    state: Annotated[MessageState | None, Query()] = None,
) -> PageOut[MessageOut]:
    """The ledger of an execution: why each client did or did not get the message."""
    with database.reading() as session:
        execution = executions.get_execution(session, execution_id)
        steps = {step.id: step.position for step in executions.list_steps(session, execution_id)}
        found = executions.list_messages(
            session, execution_id, after=page.cursor, limit=page.limit, state=state
        )
    items = [
        MessageOut.of(message, uid=execution.uid, flow_id=execution.flow_id, step=steps[message.step_id])
        for message in found.items
    ]
    return PageOut[MessageOut](items=items, next_cursor=found.next_cursor)


@router.post(
    "/{execution_id}/pause", responses=responses(404, 409), dependencies=[needs(Ability.EXECUTIONS_CONTROL)]
)
def pause_execution(database: DatabaseDep, caller: CurrentCaller, execution_id: ItemId) -> ExecutionOut:
    """Stop before the next batch."""
    reason = f"paused by {caller.name}"
    database.run(lambda s: executions.pause_execution(s, execution_id, reason=reason))
    return read_execution(database, execution_id)


@router.post(
    "/{execution_id}/resume", responses=responses(404, 409), dependencies=[needs(Ability.EXECUTIONS_CONTROL)]
)
def resume_execution(
    database: DatabaseDep, caller: CurrentCaller, background: BackgroundTasks, execution_id: ItemId
) -> ExecutionOut:
    """Go on with a paused execution, or send a held one. One that was paused for its complaints or bounces is not paused for them
    again."""
    database.run(lambda s: executions.resume_execution(s, execution_id, by=caller.name))
    background.add_task(dispatch_execution, database, execution_id)
    return read_execution(database, execution_id)


@router.post(
    "/{execution_id}/approve", responses=responses(404, 409), dependencies=[needs(Ability.EXECUTIONS_APPROVE)]
)
def approve_execution(
    database: DatabaseDep, caller: CurrentCaller, background: BackgroundTasks, execution_id: ItemId
) -> ExecutionOut:
    """Agree to send an execution with more than `ICS_APPROVE_ABOVE` messages, which somebody else asked for. It takes a user:
    a token that belongs to nobody is no second person. What a schedule, Prefect or such a token started takes two users."""
    user_id = caller.user_id
    if user_id is None:
        raise Conflict("this token belongs to no user: a person has to approve")
    approved = database.run(
        lambda s: executions.approve_execution(s, execution_id, by=caller.name, user_id=user_id)
    )
    if not approved.awaits_approval:
        background.add_task(dispatch_execution, database, execution_id)
    return read_execution(database, execution_id)


@router.post(
    "/{execution_id}/cancel", responses=responses(404, 409), dependencies=[needs(Ability.EXECUTIONS_CONTROL)]
)
def cancel_execution(database: DatabaseDep, execution_id: ItemId) -> ExecutionOut:
    """Take back what is pending. What was sent stays sent."""
    database.run(lambda s: executions.cancel_execution(s, execution_id))
    return read_execution(database, execution_id)


def read_execution(database: Database, execution_id: int) -> ExecutionOut:
    """An execution as it is answered everywhere."""
    with database.reading() as session:
        execution, flow, stats, _ = executions.get_summary(session, execution_id)
        return ExecutionOut.of(execution, flow, stats)
