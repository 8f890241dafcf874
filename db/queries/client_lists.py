"""Client lists and their members."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.errors import Conflict, Invalid, NotFound
from db.models import Client, ClientList, ClientListMember, Flow
from db.queries.pages import Page, page_of

_NAMED_UNKNOWN = 20


def get_client_list(session: Session, list_id: int) -> ClientList:
    found = session.get(ClientList, list_id)
    if found is None:
        raise NotFound("client list", list_id)
    return found


def list_client_lists(session: Session, *, after: int, limit: int) -> Page[ClientList]:
    return page_of(session, select(ClientList), ClientList.id, after=after, limit=limit)


def count_members(session: Session, list_ids: Sequence[int]) -> dict[int, int]:
    """Members of each of the lists; a list without any is not in the result."""
    rows = session.execute(
        select(ClientListMember.client_list_id, func.count())
        .where(ClientListMember.client_list_id.in_(list_ids))
        .group_by(ClientListMember.client_list_id)
    )
    return {row[0]: row[1] for row in rows}


def list_members(session: Session, list_id: int, *, after: int, limit: int) -> Page[Client]:
    """The clients on the list, by their ids."""
    get_client_list(session, list_id)
    members = (
        select(Client)
        .join(ClientListMember, ClientListMember.client_id == Client.id)
        # The cursor is told to the members' own key too: that is the index this is read along.
        .where(ClientListMember.client_list_id == list_id, ClientListMember.client_id > after)
    )
    return page_of(session, members, Client.id, after=after, limit=limit)


def insert_client_list(session: Session, values: Mapping[str, Any]) -> ClientList:
    """Raises Conflict when the name is taken."""
    client_list = ClientList(**values)
    _store(session, client_list, {})
    return client_list


def update_client_list(session: Session, list_id: int, values: Mapping[str, Any]) -> ClientList:
    """Change the given columns; raises NotFound, or Conflict when the name is taken."""
    client_list = get_client_list(session, list_id)
    _store(session, client_list, values)
    return client_list


def delete_client_list(session: Session, list_id: int) -> None:
    """Delete the list, not its clients. Raises Conflict while a flow, even an archived one, uses the list."""
    get_client_list(session, list_id)
    flow_id = session.scalars(select(Flow.id).where(Flow.client_list_id == list_id).limit(1)).one_or_none()
    if flow_id is not None:
        raise Conflict(f"flow {flow_id} uses this list; give it another one first")
    try:
        session.execute(delete(ClientListMember).where(ClientListMember.client_list_id == list_id))
        session.execute(delete(ClientList).where(ClientList.id == list_id))
    except IntegrityError as error:
        raise Conflict("a flow has just begun to use this list") from error


def insert_members(session: Session, list_id: int, client_ids: Sequence[int]) -> int:
    """Put clients on a list; returns how many were not on it before.

    Raises:
        Invalid: names the clients that do not exist; then nobody is added.
    """
    get_client_list(session, list_id)
    known = set(session.scalars(select(Client.id).where(Client.id.in_(client_ids))))
    unknown = sorted(set(client_ids) - known)
    if unknown:
        more = f" and {len(unknown) - _NAMED_UNKNOWN} more" if len(unknown) > _NAMED_UNKNOWN else ""
        names = ", ".join(str(client_id) for client_id in unknown[:_NAMED_UNKNOWN])
        raise Invalid("client_ids", f"these clients do not exist: {names}{more}")
    members = select(literal(list_id), Client.id).where(Client.id.in_(known)).order_by(Client.id)
    added: Any = session.execute(
        insert_ignore(ClientListMember).from_select(
            ["client_list_id", "client_id"], members, include_defaults=False
        )
    )
    return int(added.rowcount)


def delete_members(session: Session, list_id: int, client_ids: Sequence[int]) -> int:
    """Take clients off a list; returns how many were on it."""
    get_client_list(session, list_id)
    removed: Any = session.execute(
        delete(ClientListMember)
        .where(ClientListMember.client_list_id == list_id, ClientListMember.client_id.in_(client_ids))
        .execution_options(synchronize_session=False)
    )
    return int(removed.rowcount)


def _store(session: Session, client_list: ClientList, changes: Mapping[str, Any]) -> None:
    """Apply the changes and write the list. Behind a savepoint: a conflict leaves the session usable."""
    name = changes.get("name", client_list.name)
    try:
        with session.begin_nested():
            for column, value in changes.items():
                setattr(client_list, column, value)
            session.add(client_list)
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"a list named '{name}' exists already", "name") from error
