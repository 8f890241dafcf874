"""Custom fields as others need them: which there are, and what they may hold. `field_definitions.py` changes them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.errors import Conflict, Invalid
from db.fields import FieldKind, FieldType, ValueRefused, check_fields
from db.models import CustomField

MAX_FIELDS = 200
_CHANGED = "the field was changed while its values were on their way; try again"
_GONE = "the field was deleted while its values were on their way; POST /api/custom-fields defines it again"


def list_field_types(session: Session) -> dict[str, FieldType]:
    """All custom fields there are, by key."""
    return {field.key: field.type for field in list_custom_fields(session)}


def list_custom_fields(session: Session) -> Sequence[CustomField]:
    """All of them, at most `MAX_FIELDS`, by key."""
    return session.scalars(select(CustomField).order_by(CustomField.key)).all()


def list_labels(session: Session) -> dict[str, str]:
    """What people call each custom field, by key."""
    return {field.key: field.label for field in session.scalars(select(CustomField))}


def ensure_custom_fields(session: Session, kinds: Mapping[str, FieldKind]) -> list[str]:
    """Define those of the fields that are not there yet; returns their keys. One that is there keeps its kind."""
    missing = sorted(set(kinds) - set(list_field_types(session)))
    if missing:
        check_room(session, len(missing))
    for key in missing:
        session.execute(
            insert_ignore(CustomField).values(key=key, label=label_of(key), kind=kinds[key], choices=[])
        )
    return missing


def check_custom_fields(session: Session, values: Mapping[str, Any]) -> dict[str, Any]:
    """The custom fields of a client as they are stored. Until the transaction ends, nobody changes or deletes their definitions:
    who does so looks at the values that are stored, and would not see these.

    Raises:
        Invalid: `custom_fields.<key>` is not defined, or the value is none of its kind.
    """
    if not values:
        return {}
    known = hold_field_types(session, values)
    if len(known) < len(values):
        known = list_field_types(session) | known
    try:
        return check_fields(known, values)
    except ValueRefused as error:
        raise Invalid(f"custom_fields.{error.key}", str(error)) from error


def hold_custom_fields(session: Session, types: Mapping[str, FieldType]) -> None:
    """Let nobody change or delete these fields until the transaction ends. `types` are what values were checked against, some time ago.

    Raises:
        Invalid: `custom_fields.<key>` is gone by now, is of another kind, or has lost choices.
    """
    now = hold_field_types(session, types) if types else {}
    for key, then in types.items():
        if not _includes(now.get(key), then):
            raise Invalid(f"custom_fields.{key}", _CHANGED if key in now else _GONE)


def _includes(now: FieldType | None, then: FieldType) -> bool:
    return now is not None and now.kind is then.kind and set(then.choices) <= set(now.choices)


def hold_field_types(session: Session, keys: Iterable[str]) -> dict[str, FieldType]:
    """Those of the fields that there are. Until the transaction ends, nobody changes or deletes them; others may do the same."""
    columns = (CustomField.key, CustomField.kind, CustomField.choices)
    found = select(*columns).where(CustomField.key.in_(keys)).with_for_update(read=True)
    return {key: FieldType(key, kind, tuple(choices)) for key, kind, choices in session.execute(found)}


def label_of(key: str) -> str:
    """What people read where nobody gave the field a label: `first_visit` is "First visit"."""
    return key.replace("_", " ").strip().capitalize() or key


def check_room(session: Session, more: int) -> None:
    """Raises Conflict when so many fields more would be too many."""
    there = session.scalar(select(func.count()).select_from(CustomField)) or 0
    if there + more > MAX_FIELDS:
        raise Conflict(
            f"there are {there} custom fields, and {MAX_FIELDS} are possible; delete some first", "key"
        )
