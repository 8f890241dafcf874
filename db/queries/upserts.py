"""Clients by the thousand: created or updated by what they are recognised by, in two statements a chunk."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from sqlalchemy import exists, literal, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import insert_ignore, json_rows, merge_json, update_from, utc_now
from db.models import Client, ClientList, ClientListMember
from db.states import Consent

CHUNK_ROWS = 5_000
# Half of MariaDB's default max_allowed_packet (16 MiB) is left for the escaping of quotes.
_PARAMETER_BYTES = 4 * 1024 * 1024
_ATTEMPTS = 3
_CLIENTS = Client.__tablename__

# Types of the JSON members on the servers; tags and custom fields travel as the text of a JSON document.
_COLUMNS = {
    "identity_key": "VARCHAR(254)",
    "external_id": "VARCHAR(100)",
    "email": "VARCHAR(254)",
    "phone": "VARCHAR(16)",
    "first_name": "VARCHAR(100)",
    "last_name": "VARCHAR(100)",
    "time_zone": "VARCHAR(64)",
    "locale": "VARCHAR(35)",
    "tags": "MEDIUMTEXT",
    "custom_fields": "MEDIUMTEXT",
    "email_consent": "VARCHAR(24)",
    "sms_consent": "VARCHAR(24)",
}
# What a new client gets where the row has nothing; the columns are NOT NULL.
_DEFAULTS = {
    "first_name": "",
    "last_name": "",
    "email_consent": Consent.UNKNOWN.value,
    "sms_consent": Consent.UNKNOWN.value,
}
_OVERWRITTEN = ("external_id", "email", "phone", "first_name", "last_name", "time_zone", "locale")


@dataclass(frozen=True)
class Upserted:
    """The identity keys of the clients that were new, and of those that were there already."""

    created: set[str] = field(default_factory=set)
    updated: set[str] = field(default_factory=set)


class _Encoded(NamedTuple):
    """A row and the JSON object it travels as."""

    key: str
    values: Mapping[str, Any]
    document: bytes


def upsert_clients(session: Session, rows: Sequence[Mapping[str, Any]]) -> Upserted:
    """Create the clients of `rows`, or update those whose `identity_key` is there already.

    Each row has `identity_key` (at most once in `rows`) and any of external_id, email, phone, first_name,
    last_name, time_zone, locale, tags (list), custom_fields (dict), email_consent, sms_consent. For a client
    that exists:

    - a value overwrites, an empty one (missing, None, "") leaves what is there;
    - tags are united, custom fields are merged member by member;
    - a consent is set unless the client denied it: nothing here lifts a denial. Suppressions are not touched.

    The stored clients stay locked until the transaction ends.
    """
    done = Upserted()
    in_order = sorted(rows, key=lambda row: str(row["identity_key"]))
    for group in _groups([_encode(row) for row in in_order]):
        _upsert(session, group, done)
    return done


def add_members_by_identity(session: Session, list_id: int, identity_keys: Collection[str]) -> int:
    """Put the clients with these keys on a list; those on it already stay. Returns how many are new on it."""
    added = 0
    keys = sorted(identity_keys)
    for start in range(0, len(keys), CHUNK_ROWS):
        # INSERT IGNORE alone would turn the foreign key of a deleted list into thousands of warnings.
        members = select(literal(list_id), Client.id).where(
            exists().where(ClientList.id == list_id),
            Client.identity_key.in_(keys[start : start + CHUNK_ROWS]),
        )
        statement = insert_ignore(ClientListMember).from_select(
            ["client_list_id", "client_id"], members, include_defaults=False
        )
        result: Any = session.execute(statement)
        added += int(result.rowcount)
    return added


def _upsert(session: Session, rows: Sequence[_Encoded], done: Upserted) -> None:
    """Keys come in order, so that two imports at once wait for each other instead of deadlocking."""
    for attempt in range(1, _ATTEMPTS + 1):
        stored_tags = _lock_stored(session, [row.key for row in rows])
        new = [row for row in rows if row.key not in stored_tags]
        try:
            _insert(session, new)
            break
        except IntegrityError:
            # Somebody created one of them since we looked. The statement was undone, the transaction goes on.
            if attempt == _ATTEMPTS:
                raise
    _update(session, [_united(row, stored_tags[row.key]) for row in rows if row.key in stored_tags])
    done.created.update(row.key for row in new)
    done.updated.update(stored_tags)


def _lock_stored(session: Session, keys: Sequence[str]) -> dict[str, list[str]]:
    """The tags of those clients that exist, by identity key."""
    query = select(Client.identity_key, Client.tags).where(Client.identity_key.in_(keys)).with_for_update()
    return {row.identity_key: row.tags for row in session.execute(query)}


def _united(row: _Encoded, stored: list[str]) -> _Encoded:
    """The row with the tags of the stored client before its own."""
    tags = list(dict.fromkeys([*stored, *(row.values.get("tags") or ())]))
    return _encode({**row.values, "tags": tags})


def _insert(session: Session, rows: Sequence[_Encoded]) -> None:
    if not rows:
        return
    source = json_rows(session.get_bind().dialect, "rows", _COLUMNS)
    picked = ", ".join(
        f"COALESCE({name}, '{_DEFAULTS[name]}')" if name in _DEFAULTS else name for name in _COLUMNS
    )
    statement = text(
        f"INSERT INTO {_CLIENTS} ({', '.join(_COLUMNS)}) SELECT {picked} FROM {source} AS incoming"
    )
    session.execute(statement, {"rows": _parameter(rows)})


def _update(session: Session, rows: Sequence[_Encoded]) -> None:
    if not rows:
        return
    dialect = session.get_bind().dialect
    changes = {name: f"COALESCE(incoming.{name}, {_CLIENTS}.{name})" for name in _OVERWRITTEN}
    changes |= {name: _consent(name) for name in ("email_consent", "sms_consent")}
    changes["tags"] = "incoming.tags"
    changes["custom_fields"] = merge_json(dialect, f"{_CLIENTS}.custom_fields", "incoming.custom_fields")
    changes["updated_at"] = str(utc_now().compile(dialect=dialect))
    statement = text(
        update_from(
            dialect,
            _CLIENTS,
            json_rows(dialect, "rows", _COLUMNS),
            on=f"{_CLIENTS}.identity_key = incoming.identity_key",
            assignments=changes,
        )
    )
    session.execute(statement, {"rows": _parameter(rows)})


def _consent(name: str) -> str:
    stored = f"{_CLIENTS}.{name}"
    keep = (
        f"{stored} = '{Consent.DENIED}' OR incoming.{name} IS NULL OR incoming.{name} = '{Consent.UNKNOWN}'"
    )
    return f"CASE WHEN {keep} THEN {stored} ELSE incoming.{name} END"


def _groups(rows: Sequence[_Encoded]) -> Iterator[Sequence[_Encoded]]:
    """Cut the rows so that each group travels in one parameter."""
    start = size = 0
    for position, row in enumerate(rows):
        length = len(row.document)
        if position > start and (position - start == CHUNK_ROWS or size + length > _PARAMETER_BYTES):
            yield rows[start:position]
            start, size = position, 0
        size += length
    if rows:
        yield rows[start:]


def _parameter(rows: Sequence[_Encoded]) -> str:
    return (b"[" + b",".join(row.document for row in rows) + b"]").decode()


def _encode(row: Mapping[str, Any]) -> _Encoded:
    return _Encoded(row["identity_key"], row, orjson.dumps(_members(row)))


def _members(row: Mapping[str, Any]) -> dict[str, str]:
    """What is empty is left out, and so becomes NULL."""
    custom = {
        name: value for name, value in (row.get("custom_fields") or {}).items() if value not in (None, "")
    }
    plain = {
        name: str(row[name]) for name in _COLUMNS if row.get(name) and name not in ("tags", "custom_fields")
    }
    return {
        **plain,
        "tags": orjson.dumps(row.get("tags") or []).decode(),
        "custom_fields": orjson.dumps(custom).decode(),
    }
