"""The audit log: rows are added, and none is ever changed or deleted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.models import AuditEntry, AuditOutcome, AuditSeal
from db.queries.pages import Page

_AT_A_TIME = 1_000


@dataclass(frozen=True)
class NewEntry:
    """What somebody is about to do. `subject`: ids and words, no personal data."""

    who: str
    action: str
    user_id: int | None = None
    token_id: int | None = None
    route: str | None = None
    subject: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    request_id: str | None = None


class Audited(NamedTuple):
    """An entry and what came of it; None: it was cut off, or is going on."""

    entry: AuditEntry
    outcome: AuditOutcome | None


def insert_entry(session: Session, new: NewEntry) -> int:
    """Returns the id of the entry."""
    entry = AuditEntry(
        who=new.who[:120],
        user_id=new.user_id,
        token_id=new.token_id,
        action=new.action,
        route=new.route[:150] if new.route else None,
        subject=dict(new.subject),
        address=new.address,
        request_id=new.request_id,
    )
    session.add(entry)
    session.flush()
    return entry.id


def insert_done(
    session: Session, new: NewEntry, status: int, details: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """An entry together with what came of it, for what is over with this transaction."""
    insert_outcome(session, insert_entry(session, new), status, details)


def insert_outcome(session: Session, entry_id: int, status: int, details: Mapping[str, Any]) -> None:
    """What came of an entry. Of one that is sealed already nothing more is said: the seal holds for it as it is."""
    if entry_id > get_last_sealed(session):
        session.add(AuditOutcome(entry_id=entry_id, status=status, details=dict(details)))
        session.flush()


def list_entries(
    session: Session,
    *,
    before: int | None,
    limit: int,
    action: str | None = None,
    user_id: int | None = None,
) -> Page[Audited]:
    """Newest first; the cursor is the id of the last one of the page before."""
    query = _entries()
    if before is not None:
        query = query.where(AuditEntry.id < before)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if user_id is not None:
        query = query.where(AuditEntry.user_id == user_id)
    rows = session.execute(query.order_by(AuditEntry.id.desc()).limit(limit + 1)).tuples().all()
    items = [Audited(*row) for row in rows[:limit]]
    return Page(items, items[-1].entry.id if len(rows) > limit else None)


def walk_entries(session: Session, first: int, last: int) -> Iterator[Audited]:
    """Those with an id from `first` to `last`, in their order."""
    after = first - 1
    while True:
        query = _entries().where(AuditEntry.id > after, AuditEntry.id <= last)
        rows = session.execute(query.order_by(AuditEntry.id).limit(_AT_A_TIME)).tuples().all()
        yield from (Audited(*row) for row in rows)
        if len(rows) < _AT_A_TIME:
            return
        after = rows[-1][0].id


def find_unsealed(session: Session, *, older_than_seconds: float, limit: int) -> tuple[int, int] | None:
    """The first and the last id of the oldest entries without a seal, None when there are none of that age."""
    oldest = (
        select(AuditEntry.id)
        .where(AuditEntry.id > get_last_sealed(session), AuditEntry.at < utc_in(-older_than_seconds))
        .order_by(AuditEntry.id)
        .limit(limit)
        .subquery()
    )
    first, last = session.execute(select(func.min(oldest.c.id), func.max(oldest.c.id))).one()
    return None if first is None else (first, last)


def count_unsealed(session: Session) -> int:
    """How many entries have no seal yet."""
    newer = select(func.count()).select_from(AuditEntry).where(AuditEntry.id > get_last_sealed(session))
    return session.scalars(newer).one()


def get_last_sealed(session: Session) -> int:
    """The id of the newest entry with a seal; 0 when there is none."""
    return session.scalar(select(func.max(AuditSeal.last_entry_id))) or 0


def find_last_seal(session: Session) -> AuditSeal | None:
    return session.scalars(select(AuditSeal).order_by(AuditSeal.id.desc()).limit(1)).one_or_none()


def insert_seal(session: Session, *, first: int, last: int, entries: int, digest: str) -> None:
    session.add(AuditSeal(first_entry_id=first, last_entry_id=last, entries=entries, digest=digest))
    session.flush()


def list_seals(session: Session) -> Sequence[AuditSeal]:
    """All of them, in their order: one for each piece of up to a thousand entries."""
    return session.scalars(select(AuditSeal).order_by(AuditSeal.id)).all()


def _entries() -> Any:
    return select(AuditEntry, AuditOutcome).join(
        AuditOutcome, AuditOutcome.entry_id == AuditEntry.id, isouter=True
    )
