"""Clients by the thousand: looked up, created and changed in one statement each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from db.dialect import (
    gathered,
    ignoring,
    json_arrays,
    json_member,
    looked_up,
    row_lock,
    update_from,
    utc_now,
    with_rows,
)
from db.models import Client, ClientList, ClientListMember
from db.overlay import CONSENTS, PLAIN
from db.queries.parameters import as_text, packed
from db.states import Consent

_CLIENTS = Client.__tablename__
_MEMBERS = ClientListMember.__tablename__
_LISTS = ClientList.__tablename__

# Types of the values on the servers; tags and custom fields travel as the text of a JSON document.
_TYPES = {
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
_DOCUMENTS = ("tags", "custom_fields")
# What a new client gets where the row has nothing; the columns are NOT NULL.
_DEFAULTS = {
    "first_name": "",
    "last_name": "",
    "tags": "[]",
    "custom_fields": "{}",
    "email_consent": Consent.UNKNOWN.value,
    "sms_consent": Consent.UNKNOWN.value,
}
COLUMNS = (*PLAIN, *_DOCUMENTS, *CONSENTS)
_LOCKED_AT_ONCE = 2_000


class StoredClient(NamedTuple):
    """A client as it is stored; `values` are those of `COLUMNS`."""

    id: int
    import_id: int | None
    is_member: bool
    values: list[Any]

    @property
    def columns(self) -> dict[str, Any]:
        """By name, those that an import may change."""
        return dict(zip(COLUMNS, self.values, strict=True))


def lock_clients(
    session: Session, identity_keys: Collection[str], *, list_id: int | None = None
) -> dict[str, StoredClient]:
    """Those clients that exist, by identity key, locked until the transaction ends; `is_member` is of the list.

    Keys are taken in order, so that two imports at once wait for each other instead of deadlocking. Hundreds of clients
    travel as one JSON text: the driver takes rows apart in Python, which would cost more than all else that is done with them.
    """
    keys = sorted(identity_keys)
    found: dict[str, StoredClient] = {}
    for start in range(0, len(keys), _LOCKED_AT_ONCE):
        for document in _read_locked(session, keys[start : start + _LOCKED_AT_ONCE], list_id):
            key, client_id, import_id, is_member, *values = document
            found[key] = StoredClient(client_id, import_id, bool(is_member), values)
    return found


def _read_locked(session: Session, keys: Sequence[str], list_id: int | None) -> list[list[Any]]:
    dialect = session.get_bind().dialect
    columns = {name: f"{_CLIENTS}.{name}" for name in COLUMNS}
    columns |= {name: json_member(dialect, columns[name]) for name in _DOCUMENTS}
    member = f"SELECT COUNT(*) FROM {_MEMBERS} WHERE client_list_id = :list_id AND client_id = {_CLIENTS}.id"
    document = (
        f"JSON_ARRAY({_CLIENTS}.identity_key, {_CLIENTS}.id, {_CLIENTS}.import_id, "
        f"{'0' if list_id is None else f'({member})'}, {', '.join(columns.values())})"
    )
    source = json_arrays(dialect, "keys", {"identity_key": "VARCHAR(254)"})
    joined = looked_up(dialect, source, _CLIENTS, on=f"{_CLIENTS}.identity_key = incoming.identity_key")
    given = {"keys": as_text([[key] for key in keys])} | ({} if list_id is None else {"list_id": list_id})
    together = text(f"SELECT COUNT(*), {gathered(document)} FROM {joined}{row_lock(session, _CLIENTS)}")
    count, documents = session.execute(together, given).one()
    found = _loads(f"[{documents or ''}]")
    if len(found) == count:
        return found
    one_by_one = text(f"SELECT {document} FROM {joined}{row_lock(session, _CLIENTS)}")
    return [orjson.loads(each) for each in session.scalars(one_by_one, given)]


def _loads(documents: str) -> list[list[Any]]:
    """None of them if the text was cut."""
    try:
        return orjson.loads(documents)  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        return []


def insert_clients(
    session: Session, rows: Sequence[Mapping[str, Any]], *, import_id: int | None = None
) -> None:
    """Create the clients of the rows; what they are recognised by is the email, or else the phone. No custom field is None.

    Raises:
        IntegrityError: one of them is there already. Nothing was inserted, and the transaction goes on.
    """
    if not rows:
        return
    names = [name for name in _TYPES if any(row.get(name) for row in rows)]
    targets = ["identity_key", "import_id", *dict.fromkeys([*names, *_DEFAULTS])]
    addresses = [name for name in ("email", "phone") if name in names]
    identity = addresses[0] if len(addresses) == 1 else f"COALESCE({', '.join(addresses)})"
    picked = [identity, ":import_id", *(_value(name, name in names) for name in targets[2:])]
    source = json_arrays(session.get_bind().dialect, "rows", {name: _TYPES[name] for name in names})
    statement = with_rows(
        f"INSERT INTO {_CLIENTS} ({', '.join(targets)}) SELECT {', '.join(picked)} FROM {source} AS incoming",
        "rows",
    )
    in_order = sorted(rows, key=lambda row: row.get("email") or row["phone"])
    for group in packed(zip(*(_encoded(name, in_order) for name in names), strict=True)):
        session.execute(statement, {"rows": group, "import_id": import_id})


def update_clients(session: Session, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Set columns of clients, by id; none of them to NULL."""
    if not changes:
        return
    names = [name for name in _TYPES if any(name in values for values in changes.values())]
    dialect = session.get_bind().dialect
    assignments = {name: f"COALESCE(incoming.{name}, {_CLIENTS}.{name})" for name in names}
    assignments["updated_at"] = str(utc_now().compile(dialect=dialect))
    source = json_arrays(dialect, "rows", {"id": "BIGINT"} | {name: _TYPES[name] for name in names})
    statement = with_rows(
        update_from(dialect, _CLIENTS, source, on=f"{_CLIENTS}.id = incoming.id", assignments=assignments),
        "rows",
    )
    ids = sorted(changes)
    in_order = [changes[key] for key in ids]
    for group in packed(zip(ids, *(_encoded(name, in_order) for name in names), strict=True)):
        session.execute(statement, {"rows": group})


def replace_columns(session: Session, clients: Mapping[int, Mapping[str, Any]]) -> None:
    """Write all of `COLUMNS` of these clients, by id; None is NULL."""
    if not clients:
        return
    dialect = session.get_bind().dialect
    assignments = {name: f"incoming.{name}" for name in COLUMNS}
    assignments["updated_at"] = str(utc_now().compile(dialect=dialect))
    source = json_arrays(dialect, "rows", {"id": "BIGINT"} | {name: _TYPES[name] for name in COLUMNS})
    statement = with_rows(
        update_from(dialect, _CLIENTS, source, on=f"{_CLIENTS}.id = incoming.id", assignments=assignments),
        "rows",
    )
    for group in packed(
        [key, *(_whole(name, clients[key][name]) for name in COLUMNS)] for key in sorted(clients)
    ):
        session.execute(statement, {"rows": group})


def add_members(
    session: Session, list_id: int, client_ids: Collection[int], *, import_id: int | None = None
) -> None:
    """Put these clients on a list; those on it already stay. A list that is gone gets nobody."""
    source = json_arrays(session.get_bind().dialect, "ids", {"id": "BIGINT"})
    for group in packed((client_id,) for client_id in sorted(client_ids)):
        _insert_members(session, f"SELECT id FROM {source} AS incoming", list_id, import_id, {"ids": group})


def add_created_members(session: Session, list_id: int, *, import_id: int, after: int) -> None:
    """Put the clients that the import created after the client `after` on a list."""
    created = f"SELECT id FROM {_CLIENTS} WHERE import_id = :import_id AND id > :after"
    _insert_members(session, created, list_id, import_id, {"after": after})


def last_created(session: Session, import_id: int) -> int:
    """The id of the client that the import created last, 0 if there is none."""
    statement = text(f"SELECT COALESCE(MAX(id), 0) FROM {_CLIENTS} WHERE import_id = :import_id")
    return int(session.execute(statement, {"import_id": import_id}).scalar_one())


def _insert_members(
    session: Session, ids: str, list_id: int, import_id: int | None, values: Mapping[str, Any]
) -> None:
    """INSERT IGNORE alone would turn the foreign key of a deleted list into thousands of warnings."""
    statement = text(
        f"INSERT {ignoring(session.get_bind().dialect)} INTO {_MEMBERS} (client_list_id, client_id, import_id)"
        f" SELECT :list_id, found.id, :import_id FROM ({ids}) AS found"
        f" WHERE EXISTS (SELECT 1 FROM {_LISTS} WHERE {_LISTS}.id = :list_id)"
    )
    session.execute(statement, {"list_id": list_id, "import_id": import_id, **values})


def _value(name: str, is_there: bool) -> str:
    """The columns of a new client are NULL, or have their default, where no row says anything."""
    if name not in _DEFAULTS:
        return name
    return f"COALESCE({name}, '{_DEFAULTS[name]}')" if is_there else f"'{_DEFAULTS[name]}'"


def _whole(name: str, value: Any) -> Any:
    return as_text(value) if name in _DOCUMENTS else value


def _encoded(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """A column of the rows: what is empty becomes NULL; documents are text within the text."""
    if name in _DOCUMENTS:
        return [as_text(value) if (value := row.get(name)) else None for row in rows]
    return [row.get(name) or None for row in rows]
