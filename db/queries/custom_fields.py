"""Custom fields: what clients may have beside the columns of their own."""

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.dialect import insert_ignore
from db.fields import FieldKind, FieldType
from db.models import CustomField


def list_field_types(session: Session) -> dict[str, FieldType]:
    """All custom fields there are, by key."""
    return {field.key: field.type for field in session.scalars(select(CustomField).order_by(CustomField.key))}


def list_labels(session: Session) -> dict[str, str]:
    """What people call each custom field, by key."""
    return {field.key: field.label for field in session.scalars(select(CustomField))}


def ensure_custom_fields(session: Session, kinds: Mapping[str, FieldKind]) -> list[str]:
    """Define those of the fields that are not there yet; returns their keys. One that is there keeps its kind."""
    missing = sorted(set(kinds) - set(list_field_types(session)))
    for key in missing:
        session.execute(
            insert_ignore(CustomField).values(key=key, label=label_of(key), kind=kinds[key], choices=[])
        )
    return missing


def label_of(key: str) -> str:
    """What people read where nobody gave the field a label: `first_visit` is "First visit"."""
    return key.replace("_", " ").strip().capitalize() or key
