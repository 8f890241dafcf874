"""Clients who may be the same person: they share a phone, an id of another system, or a name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_
from sqlalchemy.orm import Session

from db.errors import Invalid
from db.models import Client
from db.queries.pages import Page

SHOWN_CLIENTS = 20


class DuplicateBy(StrEnum):
    PHONE = "phone"
    EXTERNAL_ID = "external_id"
    NAME = "name"


_NAME = (func.lower(Client.last_name), func.lower(Client.first_name))
_KEYS: Mapping[DuplicateBy, tuple[ColumnElement[Any], ...]] = {
    DuplicateBy.PHONE: (Client.phone.expression,),
    DuplicateBy.EXTERNAL_ID: (Client.external_id.expression,),
    DuplicateBy.NAME: _NAME,
}


@dataclass(frozen=True)
class DuplicateGroup:
    """`count` clients with the same `value`; the first `SHOWN_CLIENTS` of them by id."""

    value: str
    count: int
    clients: Sequence[Client]


def list_duplicates(session: Session, by: DuplicateBy, *, after: int, limit: int) -> Page[DuplicateGroup]:
    """Groups by their value; the cursor is the id of a client of the last one.

    Phones and external ids are read along their indexes, from where the last page ended. Names have none that could be used:
    each page reads all clients (about five seconds for a million). Who has only one of both names is in no group.

    Raises:
        Invalid: the client that the cursor names is gone.
    """
    keys = _KEYS[by]
    count = func.count().label("count")
    query = select(*keys, count, func.min(Client.id)).group_by(*keys).having(count > 1).order_by(*keys)
    if by is DuplicateBy.NAME:
        query = query.where(Client.last_name != "", Client.first_name != "")
    else:
        query = query.where(keys[0].is_not(None))
    if after:
        query = query.where(_after(keys, _place(session, keys, after)))
    rows = session.execute(query.limit(limit + 1)).all()
    found = rows[:limit]
    clients = _clients_of(session, keys, [tuple(row[: len(keys)]) for row in found])
    groups = [DuplicateGroup(_shown(row[: len(keys)]), row[-2], clients.get(row[-1], [])) for row in found]
    return Page(groups, found[-1][-1] if len(rows) > limit else None)


def _place(session: Session, keys: Sequence[ColumnElement[Any]], client_id: int) -> Sequence[Any]:
    row = session.execute(select(*keys).where(Client.id == client_id)).one_or_none()
    if row is None or None in row:
        raise Invalid("cursor", "the client it names is gone; begin again without it")
    return tuple(row)


def _after(keys: Sequence[ColumnElement[Any]], place: Sequence[Any]) -> ColumnElement[bool]:
    if len(keys) == 1:
        return and_(keys[0] > place[0])
    return or_(keys[0] > place[0], and_(keys[0] == place[0], keys[1] > place[1]))


def _clients_of(
    session: Session, keys: Sequence[ColumnElement[Any]], values: Sequence[Sequence[Any]]
) -> dict[int, list[Client]]:
    """The first clients of each group, by the id of the very first. The database says who shares what: its collation takes
    José and Jose for the same name."""
    if not values:
        return {}
    is_one = keys[0].in_([value[0] for value in values]) if len(keys) == 1 else tuple_(*keys).in_(values)
    place = func.row_number().over(partition_by=keys, order_by=Client.id).label("place")
    first = func.min(Client.id).over(partition_by=keys).label("first")
    ranked = select(Client.id, place, first).where(is_one).subquery("ranked")
    rows = session.execute(
        select(Client, ranked.c.first)
        .join(ranked, ranked.c.id == Client.id)
        .where(ranked.c.place <= SHOWN_CLIENTS)
        .order_by(Client.id)
    )
    groups: dict[int, list[Client]] = {}
    for client, group in rows:
        groups.setdefault(group, []).append(client)
    return groups


def _shown(values: Sequence[Any]) -> str:
    return " ".join(str(value) for value in reversed(values))
