"""Labels of machines, made anew for an execution."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId
from api.errors import responses
from api.schemas.base import MAX_ID
from api.schemas.webhook_events import RelabelledOut
from tasks.feedback.relabelling import relabel_piece

router = APIRouter(prefix="/api/flow-executions", tags=["flow executions"])


@router.post(
    "/{execution_id}/relabel", responses=responses(404), dependencies=[needs(Ability.EXECUTIONS_CONTROL)]
)
def relabel_execution(
    database: DatabaseDep,
    caller: CurrentCaller,
    execution_id: ItemId,
    cursor: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
) -> RelabelledOut:
    """Tell machines from people once more, by the present rule and list of scanners: 10,000 messages at a time; go on with `next_cursor`."""
    return RelabelledOut.model_validate(relabel_piece(database, execution_id, after=cursor, by=caller.name))
