"""People who log in."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import Conflict, NotFound
from db.models import User
from db.queries.pages import Page, page_of
from db.queries.tokens import revoke_tokens_of
from db.states import Role

NO_PASSWORD = ""
"""The hash of somebody who was invited and has not chosen a password: nothing fits it."""


def insert_user(
    session: Session, *, email: str, name: str, role: Role, password_hash: str = NO_PASSWORD
) -> User:
    """Raises Conflict: somebody has the email already."""
    user = User(email=email, name=name, role=role, password_hash=password_hash, active=True)
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(f"a user has the email {email} already", "email") from error
    session.refresh(user)
    return user


def get_user(session: Session, user_id: int, *, lock: bool = False) -> User:
    """Raises NotFound."""
    user = session.get(User, user_id, with_for_update=lock or None)
    if user is None:
        raise NotFound("user", user_id)
    return user


def find_user(session: Session, email: str) -> User | None:
    """The user with this email, active or not."""
    return session.scalars(select(User).where(User.email == email)).one_or_none()


def list_users(session: Session, *, after: int, limit: int) -> Page[User]:
    return page_of(session, select(User), User.id, after=after, limit=limit)


def count_users(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(User)) or 0


def update_user(session: Session, user_id: int, values: Mapping[str, Any]) -> User:
    """Change name, role or `active`. Who becomes inactive loses all tokens.

    Raises:
        NotFound: there is no such user.
        Conflict: nobody would be left who can make others admins.
    """
    # All admins, in the order of their ids: two who demote each other at the same moment come one after the other.
    admins = session.scalars(
        select(User).where(User.role == Role.ADMIN, User.active.is_(True)).order_by(User.id).with_for_update()
    ).all()
    user = get_user(session, user_id, lock=True)
    for field, value in values.items():
        setattr(user, field, value)
    if user in admins and len(admins) == 1 and not (user.role is Role.ADMIN and user.active):
        raise Conflict("this is the only admin left: make somebody else an admin first")
    if not user.active:
        revoke_tokens_of(session, user_id)
    session.flush()
    session.refresh(user)
    return user


def set_password(
    session: Session,
    user_id: int,
    password_hash: str,
    *,
    replacing: str | None = None,
    sparing: int | None = None,
) -> None:
    """A new password ends all tokens and sessions but the one in use.

    Raises:
        Conflict: with `replacing`, the hash that is stored is another one by now.
    """
    user = get_user(session, user_id, lock=True)
    if replacing is not None and user.password_hash != replacing:
        raise Conflict("the password was changed meanwhile")
    user.password_hash = password_hash
    session.flush()
    revoke_tokens_of(session, user_id, sparing=sparing)


def note_login(session: Session, user_id: int, *, password_hash: str | None = None) -> None:
    """When somebody logged in; with a hash, the password is stored by the present rules of hashing from now on."""
    values: dict[str, Any] = {"last_login_at": utc_now(), "updated_at": User.updated_at}
    if password_hash:
        values["password_hash"] = password_hash
    session.execute(
        update(User).where(User.id == user_id).values(values).execution_options(synchronize_session=False)
    )
