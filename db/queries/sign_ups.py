"""Sign-ups: typed into a form by somebody, and confirmed by the owner of the address, or not."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.errors import NotFound
from db.models import SignUp
from db.queries.pages import Page, page_of
from db.states import MailState, SignUpState

_QUIET = {"synchronize_session": False}


def insert_sign_up(
    session: Session,
    *,
    page_id: int,
    version: int,
    email: str,
    mailbox: str,
    given: Mapping[str, Any],
    utm: Mapping[str, str],
    address: str,
) -> SignUp:
    row = SignUp(
        page_id=page_id,
        version=version,
        email=email,
        mailbox=mailbox,
        given=dict(given),
        utm=dict(utm),
        address=address,
        state=SignUpState.PENDING,
        mail=MailState.QUEUED,
    )
    session.add(row)
    session.flush()
    return row


def count_recent(session: Session, mailbox: str, *, hours: int) -> int:
    """Sign-ups for this mailbox in the last hours, of all pages."""
    query = select(func.count()).select_from(SignUp)
    recent = query.where(SignUp.mailbox == mailbox, SignUp.created_at > utc_in(-hours * 3600))
    return session.scalar(recent) or 0


def list_queued_mail(session: Session, *, limit: int) -> Sequence[int]:
    """Sign-ups whose mail is to be sent, the oldest first, if its time has come."""
    return session.scalars(
        select(SignUp.id)
        .where(
            SignUp.mail == MailState.QUEUED,
            SignUp.state == SignUpState.PENDING,
            SignUp.due_at.is_(None) | (SignUp.due_at <= utc_now()),
        )
        .order_by(SignUp.id)
        .limit(limit)
    ).all()


def claim_mail(session: Session, sign_up_id: int) -> SignUp | None:
    """The sign-up, its mail committed as being sent before a socket opens; None: somebody else has it."""
    moved: Any = session.execute(
        update(SignUp)
        .where(
            SignUp.id == sign_up_id,
            SignUp.mail == MailState.QUEUED,
            SignUp.state == SignUpState.PENDING,
            SignUp.email.is_not(None),
        )
        .values(mail=MailState.SENDING, attempts=SignUp.attempts + 1, tried_at=utc_now())
        .execution_options(**_QUIET)
    )
    if moved.rowcount != 1:
        return None
    return session.scalars(
        select(SignUp).where(SignUp.id == sign_up_id).execution_options(populate_existing=True)
    ).one()


def record_mail(
    session: Session,
    sign_up_id: int,
    state: MailState,
    *,
    error: str | None = None,
    again_in: float | None = None,
) -> None:
    """What became of the mail; said only of one that is being sent. `again_in`: seconds until it is tried once more."""
    session.execute(
        update(SignUp)
        .where(SignUp.id == sign_up_id, SignUp.mail == MailState.SENDING)
        .values(
            mail=state,
            error=error[:200] if error else None,
            due_at=None if again_in is None else utc_in(again_in),
        )
        .execution_options(**_QUIET)
    )


def lock_sign_up(session: Session, sign_up_id: int) -> SignUp:
    """Raises NotFound."""
    found = session.scalars(
        select(SignUp)
        .where(SignUp.id == sign_up_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("sign-up", sign_up_id)
    return found


def confirm_sign_up(session: Session, row: SignUp, *, client_id: int) -> None:
    """It is in the client now: the address and what else was typed are forgotten here."""
    row.state, row.client_id, row.confirmed_at = SignUpState.CONFIRMED, client_id, utc_now()
    row.email = row.mailbox = row.address = None
    row.given = {}
    session.flush()


def expire_sign_ups(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Forget what nobody confirmed in time; returns how many."""
    ids = session.scalars(
        select(SignUp.id)
        .where(
            SignUp.state == SignUpState.PENDING,
            SignUp.created_at < utc_in(-older_than.total_seconds()),
        )
        .order_by(SignUp.created_at)
        .limit(limit)
    ).all()
    _forget(session, SignUp.id.in_(ids))
    return len(ids)


def forget_sign_ups(session: Session, emails: Collection[str]) -> None:
    """What was typed into forms with these addresses goes, and can be confirmed no more."""
    _forget(session, SignUp.email.in_(list(emails)))


def detach_sign_ups(session: Session, page_id: int) -> None:
    """The page is deleted: what is not confirmed can be no more, and nothing of it is another page's that gets its id."""
    mine = SignUp.page_id == page_id
    _forget(session, mine & (SignUp.state == SignUpState.PENDING))
    session.execute(update(SignUp).where(mine).values(page_id=0).execution_options(**_QUIET))


def _forget(session: Session, which: ColumnElement[bool]) -> None:
    # A mail that still waits is not sent any more; what became of one that was sent stays.
    mail = case((SignUp.mail == MailState.QUEUED, MailState.HELD.value), else_=SignUp.mail)
    session.execute(
        update(SignUp)
        .where(which)
        .values(state=SignUpState.EXPIRED, mail=mail, email=None, mailbox=None, given={}, address=None)
        .execution_options(**_QUIET)
    )


def list_sign_ups(
    session: Session, page_id: int, *, after: int, limit: int, state: SignUpState | None = None
) -> Page[SignUp]:
    query = select(SignUp).where(SignUp.page_id == page_id)
    if state is not None:
        query = query.where(SignUp.state == state)
    return page_of(session, query, SignUp.id, after=after, limit=limit)
