"""What people call the things that a rule names by key or id."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import ClientList, CustomField, Flow


def list_names_of_fields(session: Session, keys: Collection[str]) -> dict[str, str]:
    """Labels of custom fields, as they stand in a sentence, by key."""
    rows = session.execute(select(CustomField.key, CustomField.label).where(CustomField.key.in_(keys)))
    return {key: _in_sentence(label or key) for key, label in rows}


def list_names_of_lists(session: Session, ids: Collection[int]) -> dict[int, str]:
    return dict(
        session.execute(select(ClientList.id, ClientList.name).where(ClientList.id.in_(ids))).tuples().all()
    )


def list_names_of_flows(session: Session, ids: Collection[int]) -> dict[int, str]:
    return dict(session.execute(select(Flow.id, Flow.name).where(Flow.id.in_(ids))).tuples().all())


def _in_sentence(label: str) -> str:
    """Writes "First visit" as "first visit"; "VAT number" as it is."""
    return label[0].lower() + label[1:] if label[1:2].islower() else label
