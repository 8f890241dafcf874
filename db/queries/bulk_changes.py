"""One change to some thousand clients in one to three statements, whatever it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import BindParameter, bindparam, delete, insert, literal, select, text
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, json_rows, update_from, utc_now
from db.errors import Invalid
from db.models import Client, ClientList, ClientListMember, FormerMember
from db.states import BulkAction, ListKind

MAX_TAGS = 50
_CLIENTS = Client.__tablename__
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Change:
    """What is done to each client: `tags` are put on or taken off, `client_list_id` is the static list."""

    action: BulkAction
    tags: Sequence[str] = ()
    client_list_id: int | None = None
    changed_by: str = ""


@dataclass(frozen=True)
class Changed:
    """For how many clients anything is different now, and how many were left alone since they have all the tags there may be."""

    changed: int = 0
    skipped: int = 0


def check_change(session: Session, change: Change) -> None:
    """Raises Invalid where the list is none to put clients on, or to take them off."""
    if change.client_list_id is None:
        return
    found = session.get(ClientList, change.client_list_id)
    if found is None:
        raise Invalid("client_list_id", f"client list {change.client_list_id} does not exist")
    if found.kind is not ListKind.STATIC:
        raise Invalid("client_list_id", f"list {found.id} is dynamic; its members follow from its rule")


def change_clients(session: Session, change: Change, client_ids: Sequence[int]) -> Changed:
    """Change these clients, as far as they exist. At most some thousand at a time."""
    if not client_ids:
        return Changed()
    match change.action:
        case BulkAction.ADD_TAGS | BulkAction.REMOVE_TAGS:
            return _change_tags(session, change, client_ids)
        case BulkAction.ADD_TO_LIST:
            return _add_to_list(session, change, client_ids)
        case BulkAction.REMOVE_FROM_LIST:
            return _remove_from_list(session, change, client_ids)
        case BulkAction.DELETE:
            # What belongs to a client goes with it; its messages stay, and those that are pending are excluded when their
            # batch is read.
            return Changed(_rowcount(session, delete(Client).where(Client.id.in_(_ids(client_ids)))))


def tags_after(action: BulkAction, tags: Sequence[str], stored: Sequence[str]) -> list[str] | None:
    """The tags of a client afterwards; None where they would be more than a client may have."""
    if action is BulkAction.REMOVE_TAGS:
        return [tag for tag in stored if tag not in tags]
    united = list(dict.fromkeys([*stored, *tags]))
    return united if len(united) <= max(MAX_TAGS, len(stored)) else None


def _change_tags(session: Session, change: Change, client_ids: Sequence[int]) -> Changed:
    """Tags are JSON documents, in which the databases agree on little: they are read and written, each at once."""
    query = (
        select(Client.id, Client.tags)
        .where(Client.id.in_(_ids(client_ids)))
        .order_by(Client.id)
        .with_for_update()
    )
    after = {
        client_id: (stored, tags_after(change.action, change.tags, stored))
        for client_id, stored in session.execute(query)
    }
    new = {key: tags for key, (stored, tags) in after.items() if tags is not None and tags != stored}
    _write_tags(session, new)
    return Changed(len(new), sum(tags is None for _, tags in after.values()))


def _write_tags(session: Session, tags: Mapping[int, Sequence[str]]) -> None:
    if not tags:
        return
    dialect = session.get_bind().dialect
    statement = update_from(
        dialect,
        _CLIENTS,
        json_rows(dialect, "rows", {"id": "VARCHAR(20)", "tags": "MEDIUMTEXT"}),
        # As a number, or the key could not be looked up by it.
        on=f"{_CLIENTS}.id = CAST(incoming.id AS SIGNED)",
        assignments={"tags": "incoming.tags", "updated_at": str(utc_now().compile(dialect=dialect))},
    )
    rows = [{"id": str(key), "tags": orjson.dumps(each).decode()} for key, each in tags.items()]
    session.execute(text(statement), {"rows": orjson.dumps(rows).decode()})


def _add_to_list(session: Session, change: Change, client_ids: Sequence[int]) -> Changed:
    members = select(literal(change.client_list_id), Client.id).where(Client.id.in_(_ids(client_ids)))
    columns = ["client_list_id", "client_id"]
    added = insert_ignore(ClientListMember).from_select(columns, members, include_defaults=False)
    return Changed(_rowcount(session, added))


def _remove_from_list(session: Session, change: Change, client_ids: Sequence[int]) -> Changed:
    """Who was on the list, and since when, is kept for the clients' timelines."""
    mine = (
        ClientListMember.client_list_id == change.client_list_id,
        ClientListMember.client_id.in_(_ids(client_ids)),
    )
    gone = select(
        ClientListMember.client_list_id,
        ClientListMember.client_id,
        ClientListMember.added_at,
        literal(change.changed_by[:60]),
    ).where(*mine)
    columns = ["client_list_id", "client_id", "added_at", "removed_by"]
    session.execute(insert(FormerMember).from_select(columns, gone, include_defaults=False))
    return Changed(_rowcount(session, delete(ClientListMember).where(*mine)))


def _ids(client_ids: Sequence[int]) -> BindParameter[Any]:
    """Numbers written into the statement: thousands of parameters would take longer than the statement itself."""
    return bindparam(None, list(client_ids), expanding=True, literal_execute=True)


def _rowcount(session: Session, statement: Any) -> int:
    result: Any = session.execute(statement.execution_options(**_QUIET))
    return int(result.rowcount)
