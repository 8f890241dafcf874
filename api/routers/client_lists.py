"""Client lists and their members."""

from fastapi import APIRouter

from api.dependencies import DatabaseDep, ItemId, PageDep
from api.errors import responses
from api.schemas.base import PageOut
from api.schemas.client_lists import (
    ClientListIn,
    ClientListOut,
    ClientListPatch,
    MembersChanged,
    MembersIn,
)
from api.schemas.clients import ClientOut
from db.models import ClientList
from db.queries import client_lists

router = APIRouter(prefix="/api/client-lists", tags=["client lists"])


@router.post("", status_code=201, responses=responses(409))
def create_client_list(database: DatabaseDep, body: ClientListIn) -> ClientListOut:
    """Create a static list."""
    values = body.model_dump()
    return database.run(lambda s: _out(client_lists.insert_client_list(s, values), 0))


@router.get("")
def list_client_lists(database: DatabaseDep, page: PageDep) -> PageOut[ClientListOut]:
    with database.reading() as session:
        found = client_lists.list_client_lists(session, after=page.cursor, limit=page.limit)
        counts = client_lists.count_members(session, [row.id for row in found.items])
    items = [_out(row, counts.get(row.id, 0)) for row in found.items]
    return PageOut[ClientListOut](items=items, next_cursor=found.next_cursor)


@router.get("/{list_id}", responses=responses(404))
def get_client_list(database: DatabaseDep, list_id: ItemId) -> ClientListOut:
    with database.reading() as session:
        found = client_lists.get_client_list(session, list_id)
        return _out(found, client_lists.count_members(session, [list_id]).get(list_id, 0))


@router.patch("/{list_id}", responses=responses(404, 409))
def update_client_list(database: DatabaseDep, list_id: ItemId, body: ClientListPatch) -> ClientListOut:
    values = body.model_dump(exclude_unset=True)
    database.run(lambda s: client_lists.update_client_list(s, list_id, values))
    return get_client_list(database, list_id)


@router.delete("/{list_id}", status_code=204, responses=responses(404, 409))
def delete_client_list(database: DatabaseDep, list_id: ItemId) -> None:
    """Delete a list; its clients stay."""
    database.run(lambda s: client_lists.delete_client_list(s, list_id))


@router.get("/{list_id}/members", responses=responses(404))
def list_members(database: DatabaseDep, list_id: ItemId, page: PageDep) -> PageOut[ClientOut]:
    with database.reading() as session:
        return PageOut[ClientOut].of(
            client_lists.list_members(session, list_id, after=page.cursor, limit=page.limit)
        )


@router.post("/{list_id}/members", responses=responses(404))
def add_members(database: DatabaseDep, list_id: ItemId, body: MembersIn) -> MembersChanged:
    """Put clients on the list; those on it already stay."""
    return MembersChanged(
        changed=database.run(lambda s: client_lists.insert_members(s, list_id, body.client_ids))
    )


@router.delete("/{list_id}/members", responses=responses(404))
def remove_members(database: DatabaseDep, list_id: ItemId, body: MembersIn) -> MembersChanged:
    """Take clients off the list."""
    return MembersChanged(
        changed=database.run(lambda s: client_lists.delete_members(s, list_id, body.client_ids))
    )


def _out(row: ClientList, member_count: int) -> ClientListOut:
    return ClientListOut(
        id=row.id,
        name=row.name,
        description=row.description,
        kind=row.kind,
        member_count=member_count,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
