"""Events as they are stored: each fact once, whatever copies of it arrive."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from db.dialect import ignoring, json_arrays, with_rows
from db.models import Event, Message
from db.queries.parameters import as_text, packed

_EVENTS = Event.__tablename__
_QUIET = {"synchronize_session": False}
_TYPES = {
    "fingerprint": "CHAR(64)",
    "provider_event_id": "VARCHAR(100)",
    "delivery_id": "BIGINT",
    "provider": "VARCHAR(16)",
    "kind": "VARCHAR(24)",
    "message_id": "BIGINT",
    "client_id": "BIGINT",
    "execution_id": "BIGINT",
    "address": "VARCHAR(254)",
    "occurred_at": "VARCHAR(26)",
    "url": "MEDIUMTEXT",
    "classification": "VARCHAR(100)",
    "reason": "MEDIUMTEXT",
    "raw": "MEDIUMTEXT",
}

_OCCURRED_AT = list(_TYPES).index("occurred_at")


class EventRow(NamedTuple):
    """One event as it is stored, in the order of `_TYPES`; `delivery_id` is the webhook it came in, None for what a client did
    with us."""

    fingerprint: bytes
    provider_event_id: str | None
    delivery_id: int | None
    provider: str
    kind: str
    message_id: int | None
    client_id: int | None
    execution_id: int | None
    address: str | None
    occurred_at: datetime
    url: str | None
    classification: str | None
    reason: str | None
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What an event that is stored says about who made it."""

    id: int
    message_id: int
    kind: str
    occurred_at: datetime
    url: str | None
    raw: Mapping[str, Any]


def insert_events(session: Session, rows: Sequence[EventRow]) -> int:
    """Store events; copies of stored ones, by fingerprint or by the provider's id, are dropped. Returns new ones."""
    if not rows:
        return 0
    dialect = session.get_bind().dialect
    names = ", ".join(_TYPES)
    picked = ", ".join("UNHEX(fingerprint)" if name == "fingerprint" else name for name in _TYPES)
    source = json_arrays(dialect, "rows", _TYPES)
    statement = with_rows(
        f"INSERT {ignoring(dialect)} INTO {_EVENTS} ({names}) SELECT {picked} FROM {source} AS incoming",
        "rows",
    )
    inserted = 0
    moments: dict[datetime, str] = {}
    for document in packed([_values(row, moments) for row in rows]):
        result: Any = session.execute(statement, {"rows": document})
        inserted += result.rowcount
    return inserted


def list_known(session: Session, fingerprints: Collection[bytes]) -> dict[bytes, int | None]:
    """Those of the fingerprints whose event is stored, each with the message it was found to be about."""
    if not fingerprints:
        return {}
    query = select(Event.fingerprint, Event.message_id).where(Event.fingerprint.in_(list(fingerprints)))
    return dict(session.execute(query).tuples().all())


def list_holders(session: Session, provider_event_ids: Collection[str]) -> set[tuple[str, int | None, str]]:
    """(id, message, kind) of the stored events that have one of these ids of the provider's own."""
    if not provider_event_ids:
        return set()
    rows = session.execute(
        select(Event.provider_event_id, Event.message_id, Event.kind).where(
            Event.provider_event_id.in_(list(provider_event_ids))
        )
    )
    return {(name, message_id, kind) for name, message_id, kind in rows if name is not None}


def delete_of_nobody(session: Session, fingerprints: Collection[bytes]) -> None:
    """Forget those of these events that were found to be about no message."""
    session.execute(
        delete(Event)
        .where(Event.fingerprint.in_(list(fingerprints)), Event.message_id.is_(None))
        .execution_options(**_QUIET)
    )


def list_of_messages(
    session: Session, message_ids: Collection[int], kinds: Collection[str]
) -> list[StoredEvent]:
    """Stored events of these kinds about these messages."""
    if not message_ids:
        return []
    rows = session.execute(
        select(Event.id, Event.message_id, Event.kind, Event.occurred_at, Event.url, Event.raw)
        .where(Event.message_id.in_(list(message_ids)), Event.kind.in_(list(kinds)))
        .order_by(Event.id)
    )
    return [StoredEvent(*row) for row in rows]


def relabel_events(session: Session, kinds: Mapping[int, str]) -> None:
    """Give stored events, by id, other kinds."""
    by_kind: dict[str, list[int]] = {}
    for event_id, kind in kinds.items():
        by_kind.setdefault(kind, []).append(event_id)
    for kind, ids in sorted(by_kind.items()):
        session.execute(update(Event).where(Event.id.in_(ids)).values(kind=kind).execution_options(**_QUIET))


def assign_events(session: Session, message_ids: Sequence[int]) -> None:
    """Give the events of these messages to the client whose the messages are now, after a merge."""
    owner = select(Message.client_id).where(Message.id == Event.message_id).scalar_subquery()
    session.execute(
        update(Event)
        .where(Event.message_id.in_(message_ids))
        .values(client_id=owner)
        .execution_options(**_QUIET)
    )


def _values(row: EventRow, moments: dict[datetime, str]) -> list[Any]:
    values = list(row)
    values[0] = row.fingerprint.hex()
    values[_OCCURRED_AT] = moments.get(row.occurred_at) or moments.setdefault(
        row.occurred_at, row.occurred_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    )
    values[-1] = as_text(row.raw)
    return values
