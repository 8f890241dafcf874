"""Client lists and their members."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, insert, literal, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.errors import Conflict, Invalid, NotFound
from db.models import Client, ClientList, ClientListMember, Flow, FormerMember
from db.queries.list_rules import check_rule, list_rules_naming_list
from db.queries.pages import Page, page_of
from db.queries.segments import members_condition
from db.states import ListKind

_NAMED_UNKNOWN = 20
_REMOVED_BY_CHARACTERS = 60


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
    """The clients on the list, by their ids. Those of a dynamic list are whom its rule chooses at this moment."""
    client_list = get_client_list(session, list_id)
    if client_list.kind is ListKind.DYNAMIC:
        members = select(Client).where(members_condition(session, client_list))
        return page_of(session, members, Client.id, after=after, limit=limit)
    members = (
        select(Client)
        .join(ClientListMember, ClientListMember.client_id == Client.id)
        # The cursor is told to the members' own key too: that is the index this is read along.
        .where(ClientListMember.client_list_id == list_id, ClientListMember.client_id > after)
    )
    return page_of(session, members, Client.id, after=after, limit=limit)


def insert_client_list(session: Session, values: Mapping[str, Any]) -> ClientList:
    """A new list; a dynamic one with its `rule`.

    Raises:
        Invalid: the rule cannot be used, is missing, or is none of a static list's business.
        Conflict: the name is taken.
    """
    client_list = ClientList(**values)
    if client_list.kind is ListKind.DYNAMIC:
        if client_list.rule is None:
            raise Invalid("rule", "a dynamic list needs the rule that says who is on it")
        check_rule(session, client_list.rule)
    elif client_list.rule is not None:
        raise Invalid("rule", "a static list has no rule; give the kind 'dynamic' with it")
    _store(session, client_list, {})
    return client_list


def update_client_list(session: Session, list_id: int, values: Mapping[str, Any]) -> ClientList:
    """Change the given columns.

    Raises:
        NotFound: there is no such list.
        Invalid: the rule cannot be used.
        Conflict: the name is taken, or the kind would change.
    """
    client_list = get_client_list(session, list_id)
    changes = dict(values)
    _check_kind(client_list, changes.pop("kind", client_list.kind))
    if "rule" in changes:
        if client_list.kind is ListKind.STATIC:
            raise Invalid("rule", "this list is static; create a dynamic one for the rule")
        check_rule(session, changes["rule"], list_id=list_id)
        # What was counted by the old rule says nothing about the new one.
        changes |= dict.fromkeys(("member_count", "counted_at", "count_seconds", "count_tried_at"))
    _store(session, client_list, changes)
    return client_list


def delete_client_list(session: Session, list_id: int, *, deleted_by: str = "") -> None:
    """Delete the list, not its clients, who keep that they were on it.

    Raises:
        Conflict: a flow, even an archived one, uses the list, or the rule of another list names it.
    """
    naming = list_rules_naming_list(session, list_id)
    client_list = session.scalars(
        select(ClientList).where(ClientList.id == list_id).with_for_update()
    ).one_or_none()
    if client_list is None:
        raise NotFound("client list", list_id)
    flow = session.execute(select(Flow.id, Flow.name).where(Flow.client_list_id == list_id).limit(1)).first()
    if flow is not None:
        raise Conflict(f"flow {flow.id} uses this list; give it another one first")
    if naming:
        names = ", ".join(f"'{each.name}' ({each.list_id})" for each in naming[:_NAMED_UNKNOWN])
        raise Conflict(f"the rules of these lists name it: {names}; change them first")
    try:
        _forget_members(session, ClientListMember.client_list_id == list_id, deleted_by)
        session.execute(delete(ClientList).where(ClientList.id == list_id))
    except IntegrityError as error:
        raise Conflict("a flow has just begun to use this list") from error


def get_static_list(session: Session, list_id: int) -> ClientList:
    """A list whose members people choose.

    Raises:
        NotFound: there is no such list.
        Conflict: it is dynamic.
    """
    client_list = get_client_list(session, list_id)
    if client_list.kind is not ListKind.STATIC:
        raise Conflict(
            f"list {list_id} is dynamic: its members follow from its rule. Change the rule, or what it asks about, "
            "such as a tag of the clients"
        )
    return client_list


def insert_members(session: Session, list_id: int, client_ids: Sequence[int]) -> int:
    """Put clients on a list; returns how many were not on it before.

    Raises:
        Invalid: names the clients that do not exist; then nobody is added.
        Conflict: the list is dynamic.
    """
    get_static_list(session, list_id)
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


def delete_members(session: Session, list_id: int, client_ids: Sequence[int], *, removed_by: str = "") -> int:
    """Take clients off a static list; returns how many were on it. They keep that they were.

    `removed_by` says who did it: "token NAME", "import 12", "bulk operation 3".
    """
    get_static_list(session, list_id)
    is_meant = (ClientListMember.client_list_id == list_id, ClientListMember.client_id.in_(client_ids))
    # Held first: a client that somebody puts on the list meanwhile is none of those that are written down.
    held = session.scalars(select(ClientListMember.client_id).where(*is_meant).with_for_update()).all()
    is_held = and_(ClientListMember.client_list_id == list_id, ClientListMember.client_id.in_(held))
    return _forget_members(session, is_held, removed_by) if held else 0


def _forget_members(session: Session, which: ColumnElement[bool], removed_by: str) -> int:
    """Two statements, however many members: written down as former ones, and taken off."""
    columns = ["client_list_id", "client_id", "added_at", "removed_by"]
    members = select(
        ClientListMember.client_list_id,
        ClientListMember.client_id,
        ClientListMember.added_at,
        literal(removed_by[:_REMOVED_BY_CHARACTERS]),
    ).where(which)
    session.execute(insert(FormerMember).from_select(columns, members, include_defaults=False))
    removed: Any = session.execute(
        delete(ClientListMember).where(which).execution_options(synchronize_session=False)
    )
    return int(removed.rowcount)


def _check_kind(client_list: ClientList, kind: ListKind) -> None:
    if kind is client_list.kind:
        return
    if kind is ListKind.STATIC:
        way_out = "create a static list, and put the members of this one on it by a bulk operation"
    else:
        way_out = (
            'create a dynamic list with the rule {"field": "lists", "operator": "has_any", '
            f'"value": [{client_list.id}]}}, and go on from there'
        )
    raise Conflict(f"a list stays {client_list.kind}; {way_out}", "kind")


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
