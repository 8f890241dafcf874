"""The life of custom fields: defined, changed where every stored value still fits, and deleted."""

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import as_bytes, json_text, json_there
from db.errors import Conflict, Invalid, NotFound
from db.fields import FieldKind, FieldType, ValueRefused, check_value
from db.models import Client, CustomField
from db.queries.custom_fields import check_room, label_of
from db.queries.list_rules import list_rules_naming_field

PIECE_ROWS = 5_000


def get_custom_field(session: Session, key: str) -> CustomField:
    found = session.scalars(select(CustomField).where(CustomField.key == key)).one_or_none()
    if found is None:
        raise NotFound("custom field", key)
    return found


def insert_custom_field(session: Session, values: Mapping[str, Any]) -> CustomField:
    """Define a field; without a label it gets one that is made of its key.

    Raises:
        Conflict: there is one with this key, or there are as many as there can be.
    """
    check_room(session, 1)
    field = CustomField(**{**values, "label": values.get("label") or label_of(values["key"])})
    try:
        with session.begin_nested():
            session.add(field)
            session.flush()
    except IntegrityError as error:
        raise Conflict(f"there is a custom field '{field.key}' already", "key") from error
    return field


def update_custom_field(session: Session, key: str, values: Mapping[str, Any]) -> CustomField:
    """Change label, choices or kind. Every stored value is looked at: one that would not fit any more keeps the field as it is.

    Raises:
        NotFound: there is no such field.
        Conflict: values of clients would not fit, or a rule of a dynamic list asks what the new kind cannot answer.
    """
    field = get_custom_field(session, key)
    before = field.type
    for name, value in values.items():
        setattr(field, name, value)
    if field.kind is not FieldKind.CHOICE:
        field.choices = []
    after = field.type
    if after.kind is FieldKind.CHOICE and not after.choices:
        raise Invalid("choices", "a choice needs at least one")
    if after != before:
        _check_rules(session, key, before, after)
        _check_stored(session, after)
    session.flush()
    return field


def count_with_value(session: Session, key: str) -> int:
    """How many clients have a value in the field; looks at all of them."""
    return session.scalar(select(func.count()).select_from(Client).where(_has(key))) or 0


def remove_values(session: Session, key: str, *, after: int) -> int | None:
    """Take the field's value from the next clients, by id; returns the id to go on after, None at the end."""
    last = session.scalar(
        select(Client.id).where(Client.id > after).order_by(Client.id).offset(PIECE_ROWS - 1).limit(1)
    )
    piece = [Client.id > after, *([Client.id <= last] if last is not None else [])]
    session.execute(
        update(Client)
        .where(*piece, _has(key))
        .values(custom_fields=func.json_remove(Client.custom_fields, path_of(key)))
        .execution_options(synchronize_session=False)
    )
    return last


def check_deletable(session: Session, key: str) -> None:
    """Whether nothing names the field.

    Raises:
        NotFound: there is no such field.
        Conflict: the rule of a dynamic list names it.
    """
    get_custom_field(session, key)
    lists = list_rules_naming_field(session, key)
    if lists:
        named = ", ".join(f"'{each.name}' ({each.list_id})" for each in lists[:5])
        raise Conflict(f"the rules of these lists name the field: {named}; change them first")


def delete_custom_field(session: Session, key: str) -> None:
    """Delete the definition of a field that no client has a value in.

    Raises:
        NotFound: there is no such field.
        Conflict: a rule names it, or clients have values.
    """
    check_deletable(session, key)
    count = count_with_value(session, key)
    if count:
        raise Conflict(f"{count:,} clients have a value in it; add ?values=delete to delete those too")
    session.execute(delete(CustomField).where(CustomField.key == key))


def path_of(key: str) -> str:
    """The field's path in `clients.custom_fields`; in quotes, since a key may begin with a digit."""
    return f'$."{key}"'


def _has(key: str) -> ColumnElement[bool]:
    return json_there(Client.custom_fields, path_of(key))


def _check_rules(session: Session, key: str, before: FieldType, after: FieldType) -> None:
    if before.kind is after.kind and set(before.choices) <= set(after.choices):
        return
    lists = list_rules_naming_field(session, key)
    if lists:
        named = ", ".join(f"'{each.name}' ({each.list_id})" for each in lists[:5])
        raise Conflict(f"the rules of these lists name the field: {named}; change them first")


def _check_stored(session: Session, field: FieldType) -> None:
    """Looks at each different value once."""
    value = as_bytes(json_text(Client.custom_fields, path_of(field.key)))
    found = select(value.label("value")).where(_has(field.key)).subquery("found")
    groups = session.execute(select(found.c.value, func.count()).group_by(found.c.value))
    unfit = sum(count for stored, count in groups if not _fits(field, stored))
    if unfit:
        raise Conflict(f"{unfit:,} clients have a value that would not fit; change those first", "kind")


def _fits(field: FieldType, stored: str | bytes) -> bool:
    try:
        check_value(field, orjson.loads(stored))
    except ValueRefused:
        return False
    return True
