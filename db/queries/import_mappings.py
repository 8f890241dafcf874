"""Mappings that people keep for the next file of the same kind."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import Conflict, Invalid, NotFound
from db.fields import nearest
from db.models import ImportMapping
from db.queries.pages import Page, page_of

MAX_MAPPINGS = 1000


def insert_mapping(session: Session, *, name: str, mapping: dict[str, Any]) -> ImportMapping:
    """Keep a mapping, in the form of `tasks.imports.plan.to_stored`.

    Raises:
        Conflict: the name is taken, or there are `MAX_MAPPINGS` already.
    """
    if session.scalars(select(func.count()).select_from(ImportMapping)).one() >= MAX_MAPPINGS:
        raise Conflict(f"there are {MAX_MAPPINGS:,} saved mappings already; delete one first")
    kept = ImportMapping(name=name, mapping=mapping)
    session.add(kept)
    _flush(session, name)
    return get_mapping(session, kept.id)


def update_mapping(session: Session, mapping_id: int, *, name: str, mapping: dict[str, Any]) -> ImportMapping:
    """Replace a saved mapping. Imports that used it are not changed.

    Raises:
        NotFound: there is no such mapping.
        Conflict: the name is taken.
    """
    kept = get_mapping(session, mapping_id)
    kept.name = name
    kept.mapping = mapping
    _flush(session, name)
    return get_mapping(session, mapping_id)


def delete_mapping(session: Session, mapping_id: int) -> None:
    session.delete(get_mapping(session, mapping_id))
    session.flush()


def get_mapping(session: Session, mapping_id: int) -> ImportMapping:
    found = session.get(ImportMapping, mapping_id, populate_existing=True)
    if found is None:
        raise NotFound("import mapping", mapping_id)
    return found


def get_mapping_by_name(session: Session, name: str) -> ImportMapping:
    """The saved mapping of this name, or of this id if no name is like it.

    Raises:
        Invalid: there is none; the message says what the nearest one is called.
    """
    found = session.scalars(select(ImportMapping).where(ImportMapping.name == name)).one_or_none()
    if found is None and name.isascii() and name.isdigit() and len(name) <= 18:
        found = session.get(ImportMapping, int(name))
    if found is None:
        known = session.scalars(
            select(ImportMapping.name).order_by(ImportMapping.name).limit(MAX_MAPPINGS)
        ).all()
        raise Invalid("mapping_name", f"there is no saved mapping '{name}'{nearest(name, known)}")
    return found


def list_mappings(session: Session, *, after: int, limit: int) -> Page[ImportMapping]:
    return page_of(session, select(ImportMapping), ImportMapping.id, after=after, limit=limit)


def _flush(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(f"there is a saved mapping '{name}' already", "name") from error
