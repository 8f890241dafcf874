"""The life of custom fields: defined, changed where every stored value still fits, and deleted."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import as_bytes, json_text, json_there
from db.errors import Conflict, Invalid, NotFound
from db.fields import FieldKind, FieldType, fits
from db.models import Client, CustomField
from db.queries.cms_pages import list_pages_asking_for
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
    """Change label, choices or kind. Where a stored value might not fit any more, every one is looked at; clients that get a value
    in the field meanwhile wait.

    Raises:
        NotFound: there is no such field.
        Invalid: the kind and the choices do not go together.
        Conflict: values of clients would not fit, or a rule of a dynamic list or a form of a page asks what the new kind cannot answer.
    """
    field = _hold_custom_field(session, key)
    before, after = field.type, _revised(field.type, values)
    if before.kind is not after.kind or not set(before.choices) <= set(after.choices):
        _check_unnamed(session, key)
        if before.kind is not after.kind:
            _check_unasked(session, key)
        _check_stored(session, before, after)
    field.label = values.get("label", field.label) or label_of(key)
    field.kind, field.choices = after.kind, list(after.choices)
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
    """Whether nothing names the field. Holds its definition and the rules until the transaction ends.

    Raises:
        NotFound: there is no such field.
        Conflict: the rule of a dynamic list names it, or the form of a page.
    """
    _hold_custom_field(session, key)
    _check_unnamed(session, key)
    _check_unasked(session, key)


def delete_custom_field(session: Session, key: str) -> None:
    """Delete the definition of a field that no client has a value in.

    Raises:
        NotFound: there is no such field.
        Conflict: a rule or a form names it, or clients have values.
    """
    check_deletable(session, key)
    count = count_with_value(session, key)
    if count:
        raise Conflict(f"{_clients_have(count)} a value in it; add ?values=delete to delete those too")
    session.execute(delete(CustomField).where(CustomField.key == key))


def path_of(key: str) -> str:
    """The field's path in `clients.custom_fields`; in quotes, since a key may begin with a digit."""
    return f'$."{key}"'


def _has(key: str) -> ColumnElement[bool]:
    return json_there(Client.custom_fields, path_of(key))


def _hold_custom_field(session: Session, key: str) -> CustomField:
    """The field, as it was committed last; until the transaction ends nobody else writes a value in it."""
    found = session.scalars(
        select(CustomField)
        .where(CustomField.key == key)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("custom field", key)
    return found


def _revised(before: FieldType, values: Mapping[str, Any]) -> FieldType:
    """The type with the changes; what was a choice and is one no more loses its choices."""
    kind = values.get("kind", before.kind)
    choices = tuple(values.get("choices", before.choices if kind is before.kind else ()))
    if kind is FieldKind.CHOICE and not choices:
        raise Invalid("choices", "a choice needs at least one")
    if kind is not FieldKind.CHOICE and choices:
        raise Invalid(
            "choices", f"only a field of the kind choice has choices, and this is of the kind {kind}"
        )
    return FieldType(before.key, kind, choices)


def _check_unnamed(session: Session, key: str) -> None:
    """Raises Conflict when the rules of dynamic lists name the field."""
    lists = list_rules_naming_field(session, key)
    if lists:
        named = ", ".join(f"'{each.name}' ({each.list_id})" for each in lists[:5])
        raise Conflict(f"the rules of these lists name the field: {named}; change them first")


def _check_unasked(session: Session, key: str) -> None:
    """Raises Conflict when the forms of pages ask for the field."""
    if pages := list_pages_asking_for(session, f"custom.{key}"):
        named = ", ".join(f"'{slug}' ({page_id})" for page_id, slug in pages[:5])
        raise Conflict(f"the forms of these pages ask for the field: {named}; change and publish them first")


def _check_stored(session: Session, before: FieldType, after: FieldType) -> None:
    """Looks at each different value once. The values of a choice are named: they are nobody's own words."""
    unfit, words = 0, set()
    for stored, count in _stored_values(session, after.key):
        if not fits(after, orjson.loads(stored)):
            unfit += count
            if before.kind is FieldKind.CHOICE:
                words.add(str(orjson.loads(stored)))
    if unfit:
        shown = f" ({', '.join(sorted(words)[:5])})" if words else ""
        raise Conflict(
            f"{_clients_have(unfit)} a value that would not fit{shown}; change those first",
            "kind" if before.kind is not after.kind else "choices",
        )


def _stored_values(session: Session, key: str) -> Iterator[tuple[str | bytes, int]]:
    """Each different value of the field as JSON text, and how many clients have it; as many as there are, some at a time."""
    value = as_bytes(json_text(Client.custom_fields, path_of(key)))
    found = select(value.label("value")).where(_has(key)).subquery("found")
    groups = select(found.c.value, func.count()).group_by(found.c.value)
    yield from session.execute(groups.execution_options(yield_per=1_000)).tuples()


def _clients_have(count: int) -> str:
    return "1 client has" if count == 1 else f"{count:,} clients have"
