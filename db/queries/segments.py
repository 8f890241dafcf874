"""Segments: who is in a rule, and who is on a list of either kind.

`segment_condition` and `members_of` are what other queries build upon. Both look up what the rule names, once, and give a part of a
statement; no client is read.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from db.errors import Invalid
from db.models import Client, ClientList, ClientListMember, FlowExecution
from db.queries.conditions import condition_of, executions_of, on_list
from db.queries.custom_fields import list_field_types
from db.segments.reading import read_rule
from db.segments.rules import MessageCondition, Rule, conditions_of, named_lists
from db.segments.words import FieldShape, shapes_of
from db.states import ListKind

# Below the length at which MariaDB turns a list of values into a table of its own (in_predicate_conversion_threshold).
_LISTED_EXECUTIONS = 500


def segment_condition(
    session: Session, rule: Mapping[str, Any], *, now: datetime | None = None
) -> ColumnElement[bool]:
    """A condition on `Client`: true for those whom the rule (its JSON) chooses at the moment `now`.

    Raises:
        Invalid: names the part of the rule that cannot be used, e.g. `rule.all.1.value`.
    """
    shapes = list_shapes(session)
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


def read_known(session: Session, document: Any) -> Rule:
    """A rule read with the fields that there are now.

    Raises:
        Invalid: as `segment_condition`.
    """
    return read_rule(document, list_shapes(session))


def list_shapes(session: Session) -> dict[str, FieldShape]:
    """The fields that a rule can name now."""
    return shapes_of(list_field_types(session))


def count_clients(session: Session, condition: ColumnElement[bool]) -> int:
    """How many clients a condition chooses."""
    return session.scalars(select(func.count()).select_from(Client).where(condition)).one()


def sample_clients(session: Session, condition: ColumnElement[bool], *, size: int) -> Sequence[Client]:
    """The first `size` of them, by id: the table is walked by its key until there are so many."""
    return session.scalars(select(Client).where(condition).order_by(Client.id).limit(size)).all()


def _condition(
    session: Session, rule: Rule, now: datetime, shapes: Mapping[str, FieldShape], above: tuple[int, ...]
) -> ColumnElement[bool]:
    """`above` are the lists whose rules led here: one of them again would have no end."""
    dynamic = {}
    for client_list in _lists_of(session, rule):
        if client_list.id in above:
            raise Invalid("rule", f"list {client_list.id} depends on itself")
        if client_list.kind is ListKind.DYNAMIC:
            inner = read_rule(client_list.rule, shapes, path=f"rule of list {client_list.id}")
            dynamic[client_list.id] = _condition(session, inner, now, shapes, (*above, client_list.id))
    return condition_of(rule, now=now, dynamic=dynamic, executions=_executions_of(session, rule, now))


def _executions_of(session: Session, rule: Rule, now: datetime) -> dict[MessageCondition, Sequence[int]]:
    """The executions that the rule's conditions are about, where they are few enough to be listed."""
    found: dict[MessageCondition, Sequence[int]] = {}
    for asked in conditions_of(rule.node):
        if not isinstance(asked, MessageCondition):
            continue
        executions = executions_of(asked, rule.time_zone, now)
        if executions is not None:
            ids = session.scalars(executions.order_by(FlowExecution.id).limit(_LISTED_EXECUTIONS + 1)).all()
            if len(ids) <= _LISTED_EXECUTIONS:
                found[asked] = ids
    return found


def _lists_of(session: Session, rule: Rule) -> Sequence[ClientList]:
    named = named_lists(rule)
    if not named:
        return []
    found = session.scalars(select(ClientList).where(ClientList.id.in_(named))).all()
    missing = named.keys() - {client_list.id for client_list in found}
    if missing:
        list_id = min(missing)
        raise Invalid(named[list_id], f"client list {list_id} does not exist")
    return found
