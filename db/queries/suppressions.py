"""Suppressions: who must not be written to, and since when."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select, text
from sqlalchemy.orm import Session

from db.dialect import share_lock
from db.errors import NotFound
from db.models import Gate, Unsubscribed, UnsubscribedChange
from db.models.suppressions import EVERYWHERE
from db.queries.consents import SaidByAddress, log_said
from db.queries.ledger import SUPPRESSION_GATE
from db.queries.pages import Page, page_of
from db.queries.suppression_writing import write_changes
from db.states import Channel, Consent, SuppressionReason

# What people say themselves. A bounce is no word of theirs.
_SAID = (
    SuppressionReason.UNSUBSCRIBE,
    SuppressionReason.ONE_CLICK,
    SuppressionReason.SPAM_REPORT,
    SuppressionReason.STOP,
)


@dataclass(frozen=True)
class SuppressionChange:
    """A wish about an address: suppress it (`active`) or lift the suppression of the same reason.

    `is_said` when its owner says so now, and had not said so before: it is logged as their consent then.
    """

    channel: Channel
    address: str
    reason: SuppressionReason
    effective_at: datetime
    source: str
    active: bool = True
    scope: int = EVERYWHERE
    evidence: str | None = None
    is_said: bool = True


def apply_suppressions(session: Session, changes: Sequence[SuppressionChange]) -> int:
    """Store the changes; per row the latest `effective_at` wins, and of a tie the suppression. Returns how many rows changed.

    Holds the gate until commit, so that no batch commits `sending` with one of these addresses afterwards.
    """
    if not changes:
        return 0
    lock_gate(session)
    changed = write_changes(session, changes)
    log_said(session, [_said(each) for each in changes if each.is_said and each.reason in _SAID])
    return changed


def _said(change: SuppressionChange) -> SaidByAddress:
    """Who stops says no; who asks to be written to again, by START for example, says yes."""
    word = change.reason.value if change.active else f"{change.reason.value} lifted"
    consent = Consent.DENIED if change.active else Consent.GRANTED
    source = f"{word}: {change.source}" + (f", flow {change.scope}" if change.scope != EVERYWHERE else "")
    return SaidByAddress(change.channel, change.address, consent, source, change.effective_at)


def lock_gate(session: Session) -> None:
    """Take the gate alone; taken first in a transaction that also touches messages, to keep one order of locks."""
    session.execute(select(Gate.name).where(Gate.name == SUPPRESSION_GATE).with_for_update()).all()


def hold_gate(session: Session, *, alone: bool) -> None:
    """Take the gate alone, or with others who only have to know that nobody is suppressed or erased meanwhile."""
    if alone:
        lock_gate(session)
        return
    shared = text(f"SELECT name FROM {Gate.__tablename__} WHERE name = :name{share_lock(session)}")
    session.execute(shared, {"name": SUPPRESSION_GATE})


def is_suppressed(session: Session, channel: Channel, address: str, flow_id: int = EVERYWHERE) -> bool:
    """Whether the address is suppressed everywhere or for the flow."""
    found = session.scalars(
        select(Unsubscribed.id)
        .where(
            Unsubscribed.channel == channel,
            Unsubscribed.address == address,
            Unsubscribed.scope.in_([EVERYWHERE, flow_id]),
            Unsubscribed.active.is_(True),
        )
        .limit(1)
    )
    return found.first() is not None


def list_suppressions(
    session: Session,
    *,
    after: int,
    limit: int,
    channel: Channel | None = None,
    addresses: Collection[str] | None = None,
    reason: SuppressionReason | None = None,
    scope: int | None = None,
    active: bool = True,
) -> Page[Unsubscribed]:
    """Active suppressions, or lifted ones, in the order they were made; give the channel with addresses, as the index has both."""
    query = select(Unsubscribed).where(Unsubscribed.active.is_(active))
    if reason is not None:
        query = query.where(Unsubscribed.reason == reason)
    if scope is not None:
        query = query.where(Unsubscribed.scope == scope)
    if channel is not None:
        query = query.where(Unsubscribed.channel == channel)
    if addresses is not None:
        query = query.where(Unsubscribed.address.in_(addresses))
    return page_of(session, query, Unsubscribed.id, after=after, limit=limit)


def list_held(session: Session, changes: Sequence[SuppressionChange]) -> set[str]:
    """Addresses that are suppressed already, of changes that are all for one channel, scope and reason."""
    if not changes:
        return set()
    first = changes[0]
    return set(
        session.scalars(
            select(Unsubscribed.address).where(
                Unsubscribed.channel == first.channel,
                Unsubscribed.address.in_([each.address for each in changes]),
                Unsubscribed.scope == first.scope,
                Unsubscribed.reason == first.reason,
                Unsubscribed.active.is_(True),
            )
        )
    )


def list_changes(
    session: Session, suppression_id: int, *, after: int, limit: int
) -> Page[UnsubscribedChange]:
    """What happened to a suppression, oldest first.

    Raises:
        NotFound: there is no such suppression.
    """
    get_suppression(session, suppression_id)
    query = select(UnsubscribedChange).where(UnsubscribedChange.suppression_id == suppression_id)
    return page_of(session, query, UnsubscribedChange.id, after=after, limit=limit)


def get_suppression(session: Session, suppression_id: int) -> Unsubscribed:
    found = session.get(Unsubscribed, suppression_id)
    if found is None:
        raise NotFound("suppression", suppression_id)
    return found


def find_suppression(session: Session, change: SuppressionChange) -> Unsubscribed | None:
    """The row that a change is about, as it is stored now."""
    return session.scalars(
        select(Unsubscribed).where(*_key_of(change)).execution_options(populate_existing=True)
    ).one_or_none()


def _key_of(change: SuppressionChange) -> tuple[ColumnElement[bool], ...]:
    return (
        Unsubscribed.channel == change.channel,
        Unsubscribed.address == change.address,
        Unsubscribed.scope == change.scope,
        Unsubscribed.reason == change.reason,
    )
