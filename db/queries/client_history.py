"""A client's timeline: everything that is known of when, newest first, in one statement over all that knows of the client.

Every part is read along an index that begins with the client, so that what it costs grows with this client's history, and not
with that of others.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    String,
    Text,
    and_,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.orm import Session

from db.models import (
    Client,
    ClientList,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    Event,
    ExecutionStep,
    FlowExecution,
    FormerMember,
    ImportChange,
    MemberImport,
    Message,
)
from db.queries.clients import get_client
from db.queries.merging import list_merged_ids
from db.queries.segments import members_condition
from db.states import Channel, Feedback, ListKind
from db.types import UTCDateTime

MAX_DYNAMIC_LISTS = 100


class EntryKind(StrEnum):
    """In the order in which entries of the same moment follow one another, the last one first."""

    CREATED = "created"
    IMPORT_CHANGED = "import_changed"
    LIST_JOINED = "list_joined"
    LIST_LEFT = "list_left"
    CONSENT = "consent"
    MERGED = "merged"
    MESSAGE = "message"
    EVENT = "event"


Part = Select[Any]


@dataclass(frozen=True)
class Entry:
    """Something that happened; `details` are ids and words. (at, place, id) is its place in the timeline."""

    kind: EntryKind
    at: datetime
    place: int
    id: int
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a page ends."""

    at: datetime
    place: int
    id: int


def list_entries(
    session: Session,
    client_id: int,
    *,
    before: Place | None,
    limit: int,
    kinds: Sequence[EntryKind] = (),
) -> list[Entry]:
    """Up to `limit` entries that are older than `before`.

    Raises:
        NotFound, Merged: there is no such client (any more).
    """
    return _list(session, client_id, _PARTS, before=before, limit=limit, kinds=kinds)


def list_conversation(session: Session, client_id: int, *, before: Place | None, limit: int) -> list[Entry]:
    """SMS to the client and what they answered, STOP and START too, as `list_entries`."""
    return _list(session, client_id, _TALK, before=before, limit=limit)


def _list(
    session: Session,
    client_id: int,
    parts: Sequence[tuple[EntryKind, Callable[[int, Sequence[int]], Part]]],
    *,
    before: Place | None,
    limit: int,
    kinds: Sequence[EntryKind] = (),
) -> list[Entry]:
    get_client(session, client_id)
    ids = [client_id, *list_merged_ids(session, client_id)]
    wanted = [
        part
        for place, (kind, make) in enumerate(parts)
        if not kinds or kind in kinds
        for part in [_narrowed(make(client_id, ids), place, before, limit)]
    ]
    rows = union_all(*(select(part.subquery(f"part_{n}")) for n, part in enumerate(wanted))).subquery(
        "entries"
    )
    found = session.execute(
        select(rows).order_by(rows.c.at.desc(), rows.c.place.desc(), rows.c.id.desc()).limit(limit)
    )
    return [
        Entry(parts[place][0], at, place, key, _read(parts[place][0], details))
        for at, place, key, details in found
    ]


def _part(at: Any, key: Any, **details: Any) -> Part:
    pairs = [each for name, value in details.items() for each in (literal(name), value)]
    return select(
        type_coerce(at, UTCDateTime).label("at"),
        cast(key, Integer).label("id"),
        type_coerce(func.json_object(*pairs), Text).label("details"),
    )


def _narrowed(part: Part, place: int, before: Place | None, limit: int) -> Part:
    """The newest of a part, after the end of the last page."""
    rows = part.subquery()
    at: SQLColumnExpression[Any] = rows.c.at
    query = select(at, literal(place, Integer).label("place"), rows.c.id, rows.c.details)
    if before is not None:
        query = query.where(_is_before(at, rows.c.id, place, before))
    return query.order_by(at.desc(), rows.c.id.desc()).limit(limit)


def _is_before(at: Any, key: Any, place: int, end: Place) -> ColumnElement[bool]:
    earlier: ColumnElement[bool] = at < literal(end.at, UTCDateTime)
    same: ColumnElement[bool] = at == literal(end.at, UTCDateTime)
    if place < end.place:
        return or_(earlier, same)
    if place > end.place:
        return earlier
    return or_(earlier, and_(same, key < end.id))


def _created(client_id: int, _ids: Sequence[int]) -> Part:
    return _part(Client.created_at, Client.id, import_id=Client.import_id).where(Client.id == client_id)


def _import_changed(client_id: int, _ids: Sequence[int]) -> Part:
    return (
        _part(MemberImport.created_at, ImportChange.import_id, import_id=ImportChange.import_id)
        .join_from(ImportChange, MemberImport, MemberImport.id == ImportChange.import_id)
        .where(ImportChange.client_id == client_id)
    )


def _joined(client_id: int, _ids: Sequence[int]) -> Part:
    member = ClientListMember
    return (
        _part(
            member.added_at,
            member.client_list_id,
            client_list_id=member.client_list_id,
            name=ClientList.name,
            import_id=member.import_id,
        )
        .join_from(member, ClientList, ClientList.id == member.client_list_id)
        .where(member.client_id == client_id)
    )


def _joined_formerly(client_id: int, _ids: Sequence[int]) -> Part:
    return _former(FormerMember.added_at, client_id, import_id=null())


def _left(client_id: int, _ids: Sequence[int]) -> Part:
    return _former(FormerMember.removed_at, client_id, removed_by=FormerMember.removed_by)


def _former(at: Any, client_id: int, **details: Any) -> Part:
    former = FormerMember
    return (
        _part(at, former.id, client_list_id=former.client_list_id, name=ClientList.name, **details)
        .join_from(former, ClientList, ClientList.id == former.client_list_id, isouter=True)
        .where(former.client_id == client_id)
    )


def _consent(client_id: int, _ids: Sequence[int]) -> Part:
    change = ConsentChange
    return _part(
        change.given_at,
        change.id,
        channel=cast(change.channel, String(24)),
        consent=cast(change.consent, String(24)),
        source=change.source,
        wording=change.wording,
    ).where(change.client_id == client_id)


def _merged(client_id: int, _ids: Sequence[int]) -> Part:
    merge = ClientMerge
    details = {"client_id": merge.merged_id, "merged_by": merge.merged_by}
    return _part(merge.merged_at, merge.merged_id, **details).where(merge.client_id == client_id)


def _message(_client_id: int, ids: Sequence[int]) -> Part:
    """A message has no moment of its own: that of its execution's start stands for it."""
    at = func.coalesce(FlowExecution.started_at, FlowExecution.created_at)
    return (
        _part(
            at,
            Message.id,
            message_id=Message.id,
            execution_id=Message.execution_id,
            flow_id=FlowExecution.flow_id,
            step=ExecutionStep.position,
            channel=cast(Message.channel, String(24)),
            state=cast(Message.state, String(24)),
            reason=Message.reason,
            feedback=Message.feedback,
        )
        .join_from(Message, FlowExecution, FlowExecution.id == Message.execution_id)
        .join(ExecutionStep, ExecutionStep.id == Message.step_id)
        .where(Message.client_id.in_(ids))
    )


def _event(_client_id: int, ids: Sequence[int]) -> Part:
    return _part(
        Event.occurred_at,
        Event.id,
        event=Event.kind,
        message_id=Event.message_id,
        url=Event.url,
        classification=Event.classification,
        reason=Event.reason,
    ).where(Event.client_id.in_(ids))


_PARTS = (
    (EntryKind.CREATED, _created),
    (EntryKind.IMPORT_CHANGED, _import_changed),
    (EntryKind.LIST_JOINED, _joined),
    (EntryKind.LIST_JOINED, _joined_formerly),
    (EntryKind.LIST_LEFT, _left),
    (EntryKind.CONSENT, _consent),
    (EntryKind.MERGED, _merged),
    (EntryKind.MESSAGE, _message),
    (EntryKind.EVENT, _event),
)


def _sms(client_id: int, ids: Sequence[int]) -> Part:
    return _message(client_id, ids).where(Message.channel == Channel.SMS)


def _answer(client_id: int, ids: Sequence[int]) -> Part:
    return _event(client_id, ids).where(Event.kind.in_(["reply", "opt_out", "opt_in"]))


_TALK = ((EntryKind.MESSAGE, _sms), (EntryKind.EVENT, _answer))


def _read(kind: EntryKind, text: str) -> Mapping[str, Any]:
    details: dict[str, Any] = json.loads(text)
    if kind is EntryKind.MESSAGE:
        details["feedback"] = Feedback(details["feedback"]).words
    return details


@dataclass(frozen=True)
class Membership:
    """A list that a client is on; of a dynamic list it is not known since when."""

    client_list: ClientList
    added_at: datetime | None
    import_id: int | None


@dataclass(frozen=True)
class Memberships:
    """The lists of a client; `unasked` is how many dynamic lists there are beyond those whose rules were asked."""

    items: list[Membership]
    unasked: int


def list_memberships(session: Session, client_id: int) -> Memberships:
    """The static lists the client is on, and the dynamic ones (of the first `MAX_DYNAMIC_LISTS`) whose rules choose it now.

    Raises:
        NotFound, Merged: there is no such client (any more).
    """
    get_client(session, client_id)
    static = session.execute(
        select(ClientList, ClientListMember.added_at, ClientListMember.import_id)
        .join(ClientListMember, ClientListMember.client_list_id == ClientList.id)
        .where(ClientListMember.client_id == client_id)
        .order_by(ClientList.id)
    )
    is_dynamic = ClientList.kind == ListKind.DYNAMIC
    dynamic = session.scalars(
        select(ClientList).where(is_dynamic).order_by(ClientList.id).limit(MAX_DYNAMIC_LISTS)
    ).all()
    found = [Membership(*row) for row in static]
    found += [Membership(each, None, None) for each in dynamic if _is_on(session, each, client_id)]
    count = session.scalars(select(func.count()).select_from(ClientList).where(is_dynamic)).one()
    return Memberships(found, count - len(dynamic))


def _is_on(session: Session, client_list: ClientList, client_id: int) -> bool:
    chosen = select(Client.id).where(Client.id == client_id, members_condition(session, client_list))
    return session.scalar(chosen) is not None
