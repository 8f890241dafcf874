"""Finding clients: each way of looking follows an index and is in its order, so that a page costs the same at any size.

Several ways may answer one question: what is typed into a search box may begin an email, a last name or a first name. Their
answers follow one another, and nobody is in two of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.dialect import as_name, begins_with, is_not_true
from db.errors import Invalid
from db.fields import FieldKind, nearest
from db.models import Client
from db.queries.custom_fields import list_field_types
from db.queries.pages import Page
from db.queries.segments import segment_condition

# The last character there is: the addresses that begin with "ann" lie between "ann" and "ann" + this one.
_LAST_CHARACTER = "\U0010ffff"
Column = ColumnElement[Any] | InstrumentedAttribute[Any]
Condition = ColumnElement[bool]


@dataclass(frozen=True)
class Way:
    """One way of looking: a condition that an index serves, and the columns of this index, which order what is found."""

    condition: ColumnElement[bool]
    order: tuple[Column, ...]


def by_email(prefix: str) -> Sequence[Way]:
    """Emails that begin with `prefix` (lower case), byte by byte."""
    return [Way(_between(Client.email, prefix), (Client.email,))]


def by_phone(prefix: str) -> Sequence[Way]:
    """Phones whose E.164 form begins with `prefix`."""
    return [Way(_between(Client.phone, prefix), (Client.phone,))]


def by_name(text: str) -> Sequence[Way]:
    """Last names, then first names that begin with `text`; of several words, first those with both, in either order.

    Upper and lower case are the same; so are accents on MySQL and MariaDB, whose collations say so.
    """
    first, last = as_name(Client.first_name), as_name(Client.last_name)
    by_last, by_first = (last, first), (first,)
    ways = [Way(begins_with(last, text), by_last), Way(begins_with(first, text), by_first)]
    words = text.split(" ")
    if len(words) > 1:
        one, other = words[0], " ".join(words[1:])
        ways[:0] = [
            Way(and_(begins_with(last, other), begins_with(first, one)), by_last),
            Way(and_(begins_with(last, one.rstrip(",")), begins_with(first, other)), by_last),
        ]
    return ways


def search_clients(
    session: Session,
    ways: Sequence[Way],
    *,
    after: int,
    limit: int,
    also: ColumnElement[bool] | None = None,
) -> Page[Client]:
    """Clients found by any of the ways, the first one's first; the cursor is the id of the last one.

    `also` is a condition that all of them fulfil; no index serves it.

    Raises:
        Invalid: the client that the cursor names is gone, or is not found by these ways any more.
    """
    found: list[Client] = []
    start, last = _place(session, ways, after)
    for number in range(start, len(ways)):
        way = ways[number]
        query = select(Client).where(
            way.condition, *(is_not_true(other.condition) for other in ways[:number])
        )
        if also is not None:
            query = query.where(also)
        if last is not None and number == start:
            query = query.where(_beyond((*way.order, Client.id), (*last, after)))
        query = query.order_by(*way.order, Client.id).limit(limit + 1 - len(found))
        found += session.scalars(query)
        if len(found) > limit:
            return Page(found[:limit], found[limit - 1].id)
    return Page(found, None)


def condition_on(
    session: Session, *, tag: str | None = None, field: str | None = None, value: str | None = None
) -> Condition | None:
    """Who has the tag, and `value` in the custom field; None when nothing is asked. Compared as a segment rule does.

    Raises:
        Invalid: there is no such field, the value is none of its kind, or only one of the two is given.
    """
    nodes: list[dict[str, Any]] = []
    if tag is not None:
        nodes.append({"field": "tags", "operator": "has_any", "value": [tag]})
    if field is not None and value is not None:
        nodes.append(_node(session, field, value))
    elif field is not None or value is not None:
        raise Invalid("value" if value is None else "field", "give field and value together")
    return segment_condition(session, {"all": nodes}) if nodes else None


def _node(session: Session, key: str, value: str) -> dict[str, Any]:
    known = list_field_types(session)
    if key not in known:
        raise Invalid("field", f"there is no custom field '{key[:64]}'{nearest(key, known)}")
    kind = known[key].kind
    operator = "on" if kind is FieldKind.DATE else "is"
    node = {"field": f"custom.{key}", "operator": operator, "value": _typed(kind, value)}
    try:
        segment_condition(session, node)
    except Invalid as error:
        raise Invalid("value", error.message) from error
    return node


def _typed(kind: FieldKind, text: str) -> str | float | bool:
    if kind is FieldKind.NUMBER:
        try:
            return float(text)
        except ValueError:
            raise Invalid("value", "a number such as 12.5 is needed") from None
    if kind is FieldKind.BOOLEAN:
        if text.lower() not in ("true", "false"):
            raise Invalid("value", "true or false is needed")
        return text.lower() == "true"
    return text


def _place(session: Session, ways: Sequence[Way], after: int) -> tuple[int, tuple[Any, ...] | None]:
    """Which way the client of the cursor was found by, and its values of this way's columns."""
    if not after:
        return 0, None
    for number, way in enumerate(ways):
        row = session.execute(select(*way.order).where(Client.id == after, way.condition)).one_or_none()
        if row is not None:
            return number, tuple(row)
    raise Invalid("cursor", "the client it names is gone; begin again without it")


def _between(column: InstrumentedAttribute[Any], prefix: str) -> ColumnElement[bool]:
    """A range and not LIKE: served by the index on every database, and no character is special."""
    return and_(column >= prefix, column < prefix + _LAST_CHARACTER)


def _beyond(columns: tuple[Column, ...], values: tuple[Any, ...]) -> ColumnElement[bool]:
    """What comes after `values` in the order of the columns. The first bound alone tells an index where to begin."""
    column, value = columns[0], values[0]
    above: ColumnElement[bool] = column > value
    if len(columns) == 1:
        return above
    return and_(column >= value, or_(above, _beyond(columns[1:], values[1:])))
