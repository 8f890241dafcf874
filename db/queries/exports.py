"""Clients by the thousand, for files: read along the primary key, in pieces, each row as one JSON text."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import BindParameter, ColumnElement, Select, Text, bindparam, func, select, type_coerce
from sqlalchemy.orm import Session

from db.dialect import as_json, json_list
from db.models import Client, ClientListMember

PIECE_ROWS = 5_000
_FETCHED_ROWS = 200
# Far below what MariaDB puts into one aggregated text (group_concat_max_len, 1 MiB).
_IDS_A_ROW = 10_000
Row = list[Any]

FIELDS: Mapping[str, ColumnElement[Any]] = {
    "email": Client.email.expression,
    "phone": Client.phone.expression,
    "first_name": Client.first_name.expression,
    "last_name": Client.last_name.expression,
    "external_id": Client.external_id.expression,
    "time_zone": Client.time_zone.expression,
    "locale": Client.locale.expression,
    "tags": as_json(Client.tags),
    "email_consent": Client.email_consent.expression,
    "sms_consent": Client.sms_consent.expression,
    "client_id": Client.id.expression,
    "created_at": Client.created_at.expression,
    "updated_at": Client.updated_at.expression,
    "custom_fields": as_json(Client.custom_fields),
}
"""What can be read of a client, as members of a JSON array; moments come as "2026-11-23 08:51:25.000000", in UTC."""


def read_clients(session: Session, fields: Sequence[str], *, after: int, limit: int) -> Iterator[Row]:
    """Up to `limit` clients whose id is above `after`: [id, *fields] of each, in the order of their ids.

    Each row travels as one JSON text, since the driver decodes columns one by one in Python. They come as they are asked
    for: the database makes the next rows while the last ones are written.
    """
    return _rows(session, _select(fields).where(Client.id > after).order_by(Client.id).limit(limit))


def read_members(
    session: Session, list_id: int, fields: Sequence[str], *, after: int, limit: int
) -> Iterator[Row]:
    """As `read_clients`, of those on a static list."""
    members = (
        _select(fields)
        .join(ClientListMember, ClientListMember.client_id == Client.id)
        # By the members' own key: that is the index this is read along.
        .where(ClientListMember.client_list_id == list_id, ClientListMember.client_id > after)
        .order_by(ClientListMember.client_id)
    )
    return _rows(session, members.limit(limit))


def read_chosen(session: Session, client_ids: Sequence[int], fields: Sequence[str]) -> Iterator[Row]:
    """As `read_clients`, of these ids, as far as they are still there."""
    ids: BindParameter[Any] = bindparam("ids", list(client_ids), expanding=True, literal_execute=True)
    return _rows(session, _select(fields).where(Client.id.in_(ids)).order_by(Client.id))


def choose_clients(session: Session, condition: ColumnElement[bool]) -> Sequence[int]:
    """The ids of the clients that a condition holds for, in order; 8 bytes each."""
    found = select(Client.id.label("id")).where(condition).subquery("found")
    group = found.c.id // _IDS_A_ROW
    texts = session.scalars(select(type_coerce(json_list(found.c.id), Text)).group_by(group).order_by(group))
    chosen = array("q")
    for text in texts:
        chosen.extend(sorted(orjson.loads(text)))
    return chosen


def _select(fields: Sequence[str]) -> Select[tuple[Any]]:
    row = func.json_array(Client.id, *(FIELDS[name] for name in fields))
    # Raw text: the driver's own reading of JSON columns is not wanted here.
    return select(type_coerce(row, Text)).select_from(Client)


def _rows(session: Session, query: Select[tuple[Any]]) -> Iterator[Row]:
    return map(orjson.loads, session.scalars(query.execution_options(yield_per=_FETCHED_ROWS)))
