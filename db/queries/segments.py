"""Segments: who is in a rule, and who is on a list of either kind.

`segment_condition` and `members_of` are what other queries build upon. Both look up what the rule names, once, and give a part of a
statement; no client is read.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from db.errors import Invalid
from db.models import Client, ClientList, ClientListMember
from db.queries.conditions import condition_of, on_list
from db.queries.custom_fields import list_field_types
from db.segments.reading import read_rule
from db.segments.rules import Rule, references_of
from db.segments.words import FieldShape, shapes_of
from db.states import ListKind


def segment_condition(
    session: Session, rule: Mapping[str, Any], *, now: datetime | None = None
) -> ColumnElement[bool]:
    """A condition on `Client`: true for those whom the rule (its JSON) chooses at the moment `now`.

    Raises:
        Invalid: names the part of the rule that cannot be used, e.g. `rule.all.1.value`.
    """
    shapes = shapes_of(list_field_types(session))
    return _condition(session, read_rule(rule, shapes), now or datetime.now(UTC), shapes, ())


def members_condition(
    session: Session, client_list: ClientList, *, now: datetime | None = None
) -> ColumnElement[bool]:
    """A condition on `Client`: true for those on the list, static or dynamic."""
    if client_list.kind is ListKind.STATIC:
        return on_list([client_list.id])
    return segment_condition(session, client_list.rule or {}, now=now)


def members_of(
    session: Session, client_list: ClientList, *, now: datetime | None = None
) -> Select[tuple[int]]:
    """The ids of the clients on the list, static or dynamic, in no order."""
    if client_list.kind is ListKind.STATIC:
        return select(ClientListMember.client_id).where(ClientListMember.client_list_id == client_list.id)
    return select(Client.id).where(members_condition(session, client_list, now=now))


def _condition(
    session: Session, rule: Rule, now: datetime, shapes: Mapping[str, FieldShape], above: tuple[int, ...]
) -> ColumnElement[bool]:
    """`above` are the lists whose rules led here: one of them again would have no end."""
    dynamic = {}
    for client_list in _lists(session, references_of(rule).lists):
        if client_list.id in above:
            raise Invalid("rule", f"list {client_list.id} depends on itself")
        if client_list.kind is ListKind.DYNAMIC:
            inner = read_rule(client_list.rule, shapes)
            dynamic[client_list.id] = _condition(session, inner, now, shapes, (*above, client_list.id))
    return condition_of(rule, now=now, dynamic=dynamic)


def _lists(session: Session, list_ids: Iterable[int]) -> list[ClientList]:
    wanted = sorted(list_ids)
    found = session.scalars(select(ClientList).where(ClientList.id.in_(wanted)).order_by(ClientList.id)).all()
    missing = sorted(set(wanted) - {client_list.id for client_list in found})
    if missing:
        raise Invalid("rule", f"client list {missing[0]} does not exist")
    return list(found)
