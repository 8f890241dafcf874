"""Client lists and their members."""

from fastapi import APIRouter, BackgroundTasks

from api.abilities import Ability, needs, require_for_rule
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import responses
from api.etags import MatchDep
from api.schemas.base import PageOut
from api.schemas.client_lists import (
    ClientListIn,
    ClientListOut,
    ClientListPatch,
    MembersChanged,
    MembersIn,
)
from api.schemas.clients import ClientOut
from db.dialect import time_limit
from db.engine import Database, Session
from db.models import ClientList
from db.queries import client_lists
from db.queries.list_counts import LIVE_ROWS, LIVE_ROWS_ON_PAGE, ListCount, counts_of
from db.states import CountKind
from settings import Settings
from tasks.segments.counting import refresh_count, try_to_refresh

router = APIRouter(prefix="/api/client-lists", tags=["client lists"])


@router.post("", status_code=201, responses=responses(409), dependencies=[needs(Ability.LISTS_WRITE)])
def create_client_list(
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    body: ClientListIn,
) -> ClientListOut:
    """Create a list: a static one, or a dynamic one with its rule."""
    require_for_rule(caller, body.rule)
    values = body.model_dump()
    list_id = database.run(lambda s: client_lists.insert_client_list(s, values).id)
    return _counted_soon(database, settings, background, list_id)


@router.get("", dependencies=[needs(Ability.LISTS_READ)])
def list_client_lists(database: DatabaseDep, page: PageDep) -> PageOut[ClientListOut]:
    """Lists by id. Small ones are counted at once, for large ones it is said when they were counted last."""
    with database.reading() as session:
        found = client_lists.list_client_lists(session, after=page.cursor, limit=page.limit)
        counts = counts_of(session, found.items, live_rows=LIVE_ROWS_ON_PAGE)
    items = [_out(row, counts[row.id]) for row in found.items]
    return PageOut[ClientListOut](items=items, next_cursor=found.next_cursor)


@router.get("/{list_id}", responses=responses(404), dependencies=[needs(Ability.LISTS_READ)])
def get_client_list(database: DatabaseDep, match: MatchDep, list_id: ItemId) -> ClientListOut:
    return match.tag(_read(database, list_id))


@router.patch("/{list_id}", responses=responses(404, 409), dependencies=[needs(Ability.LISTS_WRITE)])
def update_client_list(
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    background: BackgroundTasks,
    match: MatchDep,
    list_id: ItemId,
    body: ClientListPatch,
) -> ClientListOut:
    """Change the fields that are given. A new rule takes effect at once, also for flows that were not sent yet."""
    values = body.model_dump(exclude_unset=True)
    require_for_rule(caller, values.get("rule"))

    def work(session: Session) -> None:
        match.require(
            session, ClientList, ClientList.id == list_id, as_it_is=lambda: _counted(session, list_id)
        )
        client_lists.update_client_list(session, list_id, values)

    database.run(work)
    return match.tag(_counted_soon(database, settings, background, list_id))


@router.delete(
    "/{list_id}", status_code=204, responses=responses(404, 409), dependencies=[needs(Ability.LISTS_DELETE)]
)
def delete_client_list(database: DatabaseDep, caller: CurrentCaller, list_id: ItemId) -> None:
    """Delete a list; its clients stay. Refused while a flow or the rule of another list names it."""
    database.run(lambda s: client_lists.delete_client_list(s, list_id, deleted_by=caller.who))


@router.post("/{list_id}/count", responses=responses(404, 503), dependencies=[needs(Ability.LISTS_READ)])
def count_client_list(database: DatabaseDep, settings: SettingsDep, list_id: ItemId) -> ClientListOut:
    """Count the members now, however many, and keep the number. 503 when it takes too long; the older count then stays."""
    refresh_count(database, list_id, seconds=settings.list_count_seconds)
    return _read(database, list_id)


@router.get("/{list_id}/members", responses=responses(404, 503), dependencies=[needs(Ability.LISTS_READ)])
def list_members(
    database: DatabaseDep, settings: SettingsDep, list_id: ItemId, page: PageDep
) -> PageOut[ClientOut]:
    """The members by id; of a dynamic list those whom its rule chooses now."""
    with (
        database.reading() as session,
        time_limit(session, "looking for members", settings.list_count_seconds),
    ):
        return PageOut[ClientOut].of(
            client_lists.list_members(session, list_id, after=page.cursor, limit=page.limit)
        )


@router.post("/{list_id}/members", responses=responses(404, 409), dependencies=[needs(Ability.LISTS_WRITE)])
def add_members(database: DatabaseDep, list_id: ItemId, body: MembersIn) -> MembersChanged:
    """Put clients on a static list; those on it already stay."""
    return MembersChanged(
        changed=database.run(lambda s: client_lists.insert_members(s, list_id, body.client_ids))
    )


@router.delete("/{list_id}/members", responses=responses(404, 409), dependencies=[needs(Ability.LISTS_WRITE)])
def remove_members(
    database: DatabaseDep, caller: CurrentCaller, list_id: ItemId, body: MembersIn
) -> MembersChanged:
    """Take clients off a static list."""
    who = caller.who
    return MembersChanged(
        changed=database.run(
            lambda s: client_lists.delete_members(s, list_id, body.client_ids, removed_by=who)
        )
    )


def _counted_soon(
    database: Database, settings: Settings, background: BackgroundTasks, list_id: int
) -> ClientListOut:
    """The list as it is now. A large one is counted when the answer has left."""
    found = _read(database, list_id)
    if found.count_kind is CountKind.UNKNOWN:
        background.add_task(try_to_refresh, database, list_id, seconds=settings.list_count_seconds)
    return found


def _read(database: Database, list_id: int) -> ClientListOut:
    with database.reading() as session:
        return _counted(session, list_id)


def _counted(session: Session, list_id: int) -> ClientListOut:
    found = client_lists.get_client_list(session, list_id)
    return _out(found, counts_of(session, [found], live_rows=LIVE_ROWS)[list_id])


def _out(row: ClientList, count: ListCount) -> ClientListOut:
    return ClientListOut(
        id=row.id,
        name=row.name,
        description=row.description,
        kind=row.kind,
        rule=row.rule,
        member_count=count.members,
        count_kind=count.kind,
        counted_at=count.counted_at,
        count_seconds=count.seconds,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
