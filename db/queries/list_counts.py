"""How many members lists have: counted at once where that is little work, stored and counted again from time to time where not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from db.models import Client, ClientList, ClientListMember
from db.queries.client_lists import count_members
from db.queries.segments import count_clients, members_condition
from db.states import CountKind, ListKind

LIVE_ROWS_ON_PAGE = 1_000
LIVE_ROWS = 20_000
"""A list is small, and counted for each answer, when no more rows than this have to be looked at: the members of a static list,
all clients for a dynamic one."""

_REST_AFTER_COUNT = 20
"""A list is left alone for this many times as long as counting it took: however slow, it keeps the database busy for 5 % at most."""


@dataclass(frozen=True)
class ListCount:
    """`members` is None until the list was counted; `counted_at` and `seconds` are those of a stored count."""

    kind: CountKind
    members: int | None
    counted_at: datetime | None = None
    seconds: float | None = None


def counts_of(session: Session, lists: Sequence[ClientList], *, live_rows: int) -> dict[int, ListCount]:
    """The counts of the lists, by id. Whatever their size, at most about `live_rows` rows are read for each."""
    live = _count_small_static(session, lists, live_rows)
    if _has_few_clients(session, live_rows):
        live |= {row.id: count_list(session, row) for row in lists if row.kind is ListKind.DYNAMIC}
    return {
        row.id: ListCount(CountKind.LIVE, live[row.id]) if row.id in live else _stored(row) for row in lists
    }


def count_list(session: Session, client_list: ClientList) -> int:
    """The members of a list of either kind now, however long that takes."""
    if client_list.kind is ListKind.STATIC:
        return count_members(session, [client_list.id]).get(client_list.id, 0)
    return count_clients(session, members_condition(session, client_list))


def store_count(session: Session, list_id: int, members: int | None, *, seconds: float) -> None:
    """Keep what was counted now; None: it was given up after so many seconds, and what is stored stays."""
    now = datetime.now(UTC)
    counted = {} if members is None else {"member_count": members, "counted_at": now}
    session.execute(
        update(ClientList)
        .where(ClientList.id == list_id)
        # Counting is no change of the list.
        .values(count_tried_at=now, count_seconds=seconds, updated_at=ClientList.updated_at, **counted)
        .execution_options(synchronize_session=False)
    )


def list_due_counts(session: Session, *, older_than: timedelta, limit: int) -> list[int]:
    """Lists whose count is older, the oldest first. Those that take long are due less often."""
    now = datetime.now(UTC)
    tried, seconds = ClientList.count_tried_at, ClientList.count_seconds
    rows = session.execute(
        select(ClientList.id, tried, seconds)
        .where(or_(tried.is_(None), tried < now - older_than))
        # NULL comes first on every database.
        .order_by(tried, ClientList.id)
    )
    due = [
        list_id
        for list_id, at, took in rows
        if at is None or at + timedelta(seconds=_REST_AFTER_COUNT * (took or 0)) < now
    ]
    return due[:limit]


def _stored(row: ClientList) -> ListCount:
    if row.member_count is None:
        return ListCount(CountKind.UNKNOWN, None)
    return ListCount(CountKind.STORED, row.member_count, row.counted_at, row.count_seconds)


def _count_small_static(session: Session, lists: Sequence[ClientList], live_rows: int) -> dict[int, int]:
    ids = [row.id for row in lists if row.kind is ListKind.STATIC]
    one_too_many = (
        select(ClientListMember.client_id)
        .where(ClientListMember.client_list_id == ClientList.id)
        .order_by(ClientListMember.client_id)
        .limit(1)
        .offset(live_rows)
        .correlate(ClientList)
        .scalar_subquery()
    )
    small = session.scalars(select(ClientList.id).where(ClientList.id.in_(ids), one_too_many.is_(None))).all()
    return {**dict.fromkeys(small, 0), **count_members(session, small)}


def _has_few_clients(session: Session, most: int) -> bool:
    one_too_many = select(Client.id).order_by(Client.id).limit(1).offset(most)
    return session.scalars(one_too_many).first() is None
