"""One change to many clients: tags, lists, deletion; by selection at once, by rule or list as a Prefect flow."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.abilities import Ability, needs, require_audited, require_for_rule
from api.auditing import note
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.bulk_operations import BulkCountIn, BulkCountOut, BulkOperationIn, BulkOperationOut
from db.queries import bulk
from db.queries.bulk import Asked
from db.queries.bulk_changes import Change
from db.queries.choices import Choice
from db.states import BulkAction, BulkState
from tasks.bulk.asking import ask
from tasks.orchestration.sync import dispatch_bulk_operation

router = APIRouter(prefix="/api/bulk-operations", tags=["bulk operations"])


@router.post("/count", responses=responses(404), dependencies=[needs(Ability.CLIENTS_WRITE)])
def count_clients(database: DatabaseDep, caller: CurrentCaller, body: BulkCountIn) -> BulkCountOut:
    """How many clients an operation would be about now; nothing is stored."""
    require_for_rule(caller, body.rule)
    with database.reading() as session:
        return BulkCountOut(matched_count=bulk.count_chosen(session, Choice(body.members_of, body.rule)))


@router.post(
    "",
    status_code=202,
    responses={201: {"model": BulkOperationOut}, **responses(404, 409)},
    dependencies=[needs(Ability.CLIENTS_WRITE)],
)
async def create_bulk_operation(
    connection: Request,
    database: DatabaseDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    response: Response,
    body: BulkOperationIn,
) -> BulkOperationOut:
    """Change clients. Of a selection: done when this is answered (201). By rule or list: queued (202), and followed by its id.

    The rule decides about each client when its turn comes. Who is created meanwhile is left alone.
    """
    require_for_rule(caller, body.rule)
    if body.action is BulkAction.DELETE:
        await require_audited(connection, database, caller, Ability.CLIENTS_DELETE)
    asked = Asked(
        Change(
            body.action,
            tags=body.tags or (),
            client_list_id=body.client_list_id,
            changed_by=caller.who,
        ),
        created_by=caller.name,
        client_ids=body.client_ids,
        choice=Choice(body.members_of, body.rule),
    )
    stored = await run_in_threadpool(
        ask, database, asked, expected_count=body.expected_count, token_id=caller.id
    )
    note(connection, bulk_operation_id=stored.id)
    if stored.state is BulkState.COMPLETED:
        response.status_code = 201
    else:
        background.add_task(dispatch_bulk_operation, database, stored.id)
    return BulkOperationOut.of(stored)


@router.get("", dependencies=[needs(Ability.CLIENTS_READ)])
def list_bulk_operations(
    database: DatabaseDep, page: PageDep, state: Annotated[BulkState | None, Query()] = None
) -> PageOut[BulkOperationOut]:
    with database.reading() as session:
        found = bulk.list_operations(session, after=page.cursor, limit=page.limit, state=state)
    items = [BulkOperationOut.of(row) for row in found.items]
    return PageOut[BulkOperationOut](items=items, next_cursor=found.next_cursor)


@router.get("/{operation_id}", responses=responses(404), dependencies=[needs(Ability.CLIENTS_READ)])
def get_bulk_operation(database: DatabaseDep, operation_id: ItemId) -> BulkOperationOut:
    """An operation and how far it is."""
    with database.reading() as session:
        return BulkOperationOut.of(bulk.get_operation(session, operation_id))


@router.post(
    "/{operation_id}/cancel", responses=responses(404, 409), dependencies=[needs(Ability.CLIENTS_WRITE)]
)
def cancel_bulk_operation(database: DatabaseDep, operation_id: ItemId) -> BulkOperationOut:
    """Stop it after the piece that is on. What was changed stays changed."""
    return database.run(lambda s: BulkOperationOut.of(bulk.cancel_operation(s, operation_id)))
