"""Whom a flow would write to if it was sent now: the select of the snapshot, counted and not stored."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Integer, Subquery, Text, case, func, literal, or_, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.dialect import json_text
from db.models import Client, Message
from db.queries.ledger import CLIENT_FIELDS, Recipient
from db.queries.snapshot import audience
from db.states import Channel, Exclusion

# Each field is a column of a result, and databases allow only so many of them (SQLite 2,000).
_FIELDS_PER_STATEMENT = 100
_STORABLE_MEMBER = re.compile(r"[a-z0-9_]{1,64}")
_EMPTY_JSON = ("null", '""', "[]", "{}")


@dataclass(frozen=True)
class Target:
    """What decides who is in the audience of a flow's send step."""

    flow_id: int
    list_id: int
    channel: Channel
    requires_consent: bool


@dataclass(frozen=True)
class AudienceCounts:
    """`recipients` would be written to; the others are in `exclusions`, by reason."""

    total: int
    recipients: int
    exclusions: Mapping[Exclusion, int]


@dataclass(frozen=True)
class ClientField:
    """A column of the clients table or, with `member`, a member of the JSON document in it."""

    column: str
    member: str | None = None


def count_audience(session: Session, target: Target) -> AudienceCounts:
    """Everybody on the list, by what would become of them."""
    rows = _audience(session, target)
    groups = session.execute(select(rows.c.reason, func.count()).group_by(rows.c.reason))
    counts = dict(groups.tuples().all())
    recipients = counts.pop(None, 0)
    exclusions = {Exclusion(reason): count for reason, count in sorted(counts.items())}
    return AudienceCounts(recipients + sum(exclusions.values()), recipients, exclusions)


def count_empty(session: Session, target: Target, fields: Sequence[ClientField]) -> list[int]:
    """For each of the fields, the number of recipients with nothing in it: no value, or an empty one."""
    counts: list[int] = []
    for start in range(0, len(fields), _FIELDS_PER_STATEMENT):
        chunk = fields[start : start + _FIELDS_PER_STATEMENT]
        rows = _audience(session, target)
        columns = [
            func.coalesce(func.sum(case((_is_empty(field), 1), else_=0)), 0).label(f"field_{number}")
            for number, field in enumerate(chunk)
        ]
        statement = (
            select(*columns)
            .select_from(rows)
            .join(Client, Client.id == rows.c.client_id)
            .where(rows.c.reason.is_(None))
        )
        counts.extend(int(count) for count in session.execute(statement).one())
    return counts


def sample_recipients(session: Session, target: Target, *, recipients: int, size: int) -> Sequence[Recipient]:
    """Up to `size` of the `recipients` people that would be written to, spread evenly, in the order of sending.

    The same ones each time, and all of them where they are not more than `size`. Their message ids are those that
    the snapshot would give them if no other came before it.
    """
    last_id = session.scalar(select(func.max(Message.id))) or 0
    rows = _audience(session, target)
    place = (func.row_number().over(order_by=rows.c.client_id) - 1).label("place")
    placed = select(rows.c.client_id, rows.c.address, place).where(rows.c.reason.is_(None)).subquery("placed")
    # Of the places 0 to n - 1, exactly `size` begin a new n/size-th part of the whole.
    step = literal(min(size, recipients), Integer)
    is_chosen = (placed.c.place * step) % literal(max(recipients, 1), Integer) < step
    # One JSON text a row, as `read_batch` reads them: sending and this get the very same values.
    row = func.json_array(placed.c.place, placed.c.address, *CLIENT_FIELDS.values())
    texts = session.scalars(
        select(type_coerce(row, Text))
        .select_from(placed)
        .join(Client, Client.id == placed.c.client_id)
        .where(is_chosen)
        .order_by(placed.c.place)
        .limit(size)
    )
    return [_recipient(orjson.loads(text), last_id + 1) for text in texts]


def _audience(session: Session, target: Target) -> Subquery:
    return audience(
        session,
        flow_id=target.flow_id,
        list_id=target.list_id,
        channel=target.channel,
        requires_consent=target.requires_consent,
    ).subquery("audience")


def _recipient(row: list[Any], first_id: int) -> Recipient:
    place, address, *values = row
    return Recipient(first_id + place, address, dict(zip(CLIENT_FIELDS, values, strict=True)), None)


def _is_empty(field: ClientField) -> ColumnElement[bool]:
    column: InstrumentedAttribute[Any] = getattr(Client, field.column)
    if field.member is None and field.column not in ("tags", "custom_fields"):
        # Not `= ''`: the servers take a value of spaces for an empty one.
        return func.coalesce(func.length(column), 0) == 0
    if field.member is not None and not _STORABLE_MEMBER.fullmatch(field.member):
        return literal(True)
    # In quotes: a key may begin with a digit.
    value = json_text(column, f'$."{field.member}"' if field.member else "$")
    return or_(value.is_(None), value.in_(_EMPTY_JSON))
