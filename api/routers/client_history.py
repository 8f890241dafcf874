"""What happened to one client, and when."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import TypeAdapter

from api.dependencies import MAX_PAGE, DatabaseDep, ItemId, PageDep
from api.errors import bad_parameter, responses
from api.schemas.base import PageOut
from api.schemas.client_history import (
    ConsentOut,
    MembershipOut,
    MembershipsOut,
    TimelineEntry,
    TimelineOut,
)
from db.queries import client_history
from db.queries.client_history import Entry, EntryKind, Place
from db.queries.clients import get_client
from db.queries.consents import list_consents as list_logged

router = APIRouter(prefix="/api/clients/{client_id}", tags=["clients"])
_ENTRY: TypeAdapter[TimelineEntry] = TypeAdapter(TimelineEntry)


@router.get("/timeline", responses=responses(404))
def get_timeline(
    database: DatabaseDep,
    client_id: ItemId,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    kind: Annotated[
        list[EntryKind] | None, Query(description="Only these; may be given several times.")
    ] = None,
) -> TimelineOut:
    """Messages, what became of them, consents, lists, imports and merges, newest first."""
    before = _place(cursor) if cursor else None
    with database.reading() as session:
        found = client_history.list_entries(
            session, client_id, before=before, limit=limit + 1, kinds=kind or ()
        )
    return _timeline(found, limit)


@router.get("/conversation", responses=responses(404))
def get_conversation(
    database: DatabaseDep,
    client_id: ItemId,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
) -> TimelineOut:
    """The SMS to the client and their answers, newest first. The text of an answer is the `reason` of its event."""
    before = _place(cursor) if cursor else None
    with database.reading() as session:
        found = client_history.list_conversation(session, client_id, before=before, limit=limit + 1)
    return _timeline(found, limit)


@router.get("/consents", responses=responses(404))
def list_consents(database: DatabaseDep, client_id: ItemId, page: PageDep) -> PageOut[ConsentOut]:
    """What the client said about being written to, when, where and in which words; newest first. Nothing is ever changed here."""
    with database.reading() as session:
        get_client(session, client_id)
        return PageOut[ConsentOut].of(list_logged(session, client_id, after=page.cursor, limit=page.limit))


@router.get("/lists", responses=responses(404))
def list_lists(database: DatabaseDep, client_id: ItemId) -> MembershipsOut:
    """The lists the client is on now, static and dynamic; `unasked` is how many dynamic lists beyond the first 100 were not asked."""
    with database.reading() as session:
        found = client_history.list_memberships(session, client_id)
    return MembershipsOut(
        items=[
            MembershipOut(
                client_list_id=each.client_list.id,
                name=each.client_list.name,
                kind=each.client_list.kind,
                added_at=each.added_at,
                import_id=each.import_id,
            )
            for each in found.items
        ],
        unasked=found.unasked,
    )


def _timeline(found: Sequence[Entry], limit: int) -> TimelineOut:
    """One page; `found` has one entry more when there is another page."""
    items = found[:limit]
    last = items[-1] if len(found) > limit else None
    return TimelineOut(
        items=[_ENTRY.validate_python({"kind": e.kind.value, "at": e.at, **e.details}) for e in items],
        next_cursor=_cursor(Place(last.at, last.place, last.id)) if last else None,
    )


def _cursor(place: Place) -> str:
    text = f"{place.at.isoformat()} {place.place} {place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _place(cursor: str) -> Place:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, place, key = text.split(" ")
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None or not 0 <= int(key) < 2**63 or not 0 <= int(place) < 100:
            raise ValueError(text)
        return Place(moment.astimezone(UTC), int(place), int(key))
    except (ValueError, OverflowError, binascii.Error) as error:
        raise bad_parameter("cursor", "is none that this route gave; begin again without it") from error
