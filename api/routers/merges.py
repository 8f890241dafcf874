"""Clients who are the same person: find them, and make them one."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.abilities import Ability, needs
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep
from api.errors import bad_parameter, responses
from api.schemas.base import PageOut
from api.schemas.merges import DuplicateGroupOut, MergeIn, MergeOut
from db.errors import Invalid
from db.queries.duplicates import DuplicateBy, list_duplicates
from tasks.merging.merge import MergeWish, merge_clients, preview_merge

router = APIRouter(prefix="/api/clients", tags=["duplicates"])


@router.get("/duplicates", dependencies=[needs(Ability.CLIENTS_WRITE)])
def list_duplicate_clients(
    database: DatabaseDep,
    page: PageDep,
    by: Annotated[DuplicateBy, Query(description="What they share.")] = DuplicateBy.PHONE,
) -> PageOut[DuplicateGroupOut]:
    """Groups of clients who share a phone, an external id or a whole name. By name it takes about five seconds a million clients."""
    with database.reading() as session:
        try:
            found = list_duplicates(session, by, after=page.cursor, limit=page.limit)
        except Invalid as error:
            raise bad_parameter(error.field, error.message) from error
        return PageOut[DuplicateGroupOut].of(found)


@router.post("/{client_id}/merge", responses=responses(404), dependencies=[needs(Ability.CLIENTS_DELETE)])
def merge(database: DatabaseDep, caller: CurrentCaller, client_id: ItemId, body: MergeIn) -> MergeOut:
    """Merge others into this client. It keeps its values, and what is empty is filled from the others in their order."""
    wish = MergeWish(client_id, body.client_ids, caller.name, caller.id)
    done = preview_merge(database, wish) if body.preview else merge_clients(database, wish)
    return MergeOut.of(client_id, body.client_ids, done)
