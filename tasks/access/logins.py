"""Logging in, and links by which people choose a password."""

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from db.engine import Database, Session
from db.errors import Conflict, IcsError, NotFound
from db.models import ApiToken, User
from db.queries.tokens import NewToken, insert_token
from db.queries.users import find_user, get_user, note_login, set_password
from db.states import TokenKind
from settings import Settings
from tasks.access.passwords import hash_password, is_outdated, is_password
from tasks.signing import is_signed, secret_key, sign

_PURPOSE: Final = "password link"
_TRIES: Final = 3
LINK_SECONDS: Final = 3 * 24 * 3600
_LINK = re.compile(r"([0-9]{1,18})-([0-9]{1,12})\.([0-9a-f]{32})")


class LinkUnusable(NotFound):
    """A password link that was used, is too old, or is not ours."""

    def __init__(self) -> None:
        super().__init__("password link", "given")
        self.args = ("the link was used, is too old, or is not complete: ask for another one",)


class LoginRefused(IcsError):
    """Email and password do not belong together; which of the two is wrong is not told."""

    def __init__(self) -> None:
        super().__init__("email or password is wrong")


@dataclass(frozen=True)
class Login:
    """A session: its text, which is shown once, its row, and whose it is."""

    plain: str
    token: ApiToken
    user: User


def log_in(database: Database, settings: Settings, email: str, password: str) -> Login:
    """A token for a working day.

    Raises:
        LoginRefused: no such user, the wrong password, or the user is not active.
    """
    for _ in range(_TRIES):
        made = _log_in(database, settings, email, password)
        if made is not None:
            return made
    raise LoginRefused


def _log_in(database: Database, settings: Settings, email: str, password: str) -> Login | None:
    """None: the stored hash became another one while the password was compared with it."""
    with database.reading() as session:
        user = find_user(session, email)
    if not is_password(user.password_hash if user else None, password) or user is None or not user.active:
        raise LoginRefused
    rehashed = hash_again(user, password)
    new = NewToken(
        "login",
        user_id=user.id,
        lifetime=timedelta(hours=settings.session_hours),
        kind=TokenKind.SESSION,
    )

    def work(session: Session) -> Login | None:
        # Comparing takes its time, in which the password may have been changed, or the user been shut out.
        now = get_user(session, user.id, lock=True)
        if now.password_hash != user.password_hash:
            return None
        if not now.active:
            raise LoginRefused
        note_login(session, user.id, password_hash=rehashed)
        plain, token = insert_token(session, new)
        return Login(plain, token, get_user(session, user.id))

    return database.run(work)


def hash_again(user: User, password: str) -> str | None:
    """The hash by today's settings, if the stored one is weaker. Rules for new passwords do not lock out old ones."""
    if not is_outdated(user.password_hash):
        return None
    try:
        return hash_password(password)
    except IcsError:
        return None


def change_password(
    database: Database, user_id: int, *, old: str, new: str, sparing: int | None = None
) -> None:
    """By its owner, who knows the old one. All other sessions and tokens end.

    Raises:
        LoginRefused: the old password is another one.
        Invalid: the new one is too easy.
    """
    with database.reading() as session:
        user = get_user(session, user_id)
    if not is_password(user.password_hash, old):
        raise LoginRefused
    hashed = hash_password(new, hints=(user.email, user.name))
    database.run(lambda s: set_password(s, user_id, hashed, replacing=user.password_hash, sparing=sparing))


def make_password_link(settings: Settings, user: User) -> str:
    """What lets the user choose a password, once, within three days; it is over as soon as the password is another one."""
    facts = f"{user.id}-{int(time.time()) + LINK_SECONDS}"
    return f"{facts}.{sign(secret_key(settings), _PURPOSE, _bound(facts, user))}"


def choose_password(database: Database, settings: Settings, link: str, password: str) -> User:
    """Set the password of whom the link is for. All his sessions and tokens end.

    Raises:
        LinkUnusable: the link is not ours, was used, or its time is over.
        Invalid: the password is too easy.
    """
    found = _LINK.fullmatch(link)
    if found is None:
        raise LinkUnusable
    user_id, until, signature = int(found[1]), int(found[2]), found[3]
    with database.reading() as session:
        try:
            user = get_user(session, user_id)
        except NotFound:
            raise LinkUnusable from None
    facts = f"{user_id}-{until}"
    # With today's key only: an old one may have leaked, and three days are soon over.
    good = is_signed([secret_key(settings)], _PURPOSE, _bound(facts, user), signature)
    if not good or until < time.time() or not user.active:
        raise LinkUnusable
    hashed = hash_password(password, hints=(user.email, user.name))
    try:
        database.run(lambda s: set_password(s, user_id, hashed, replacing=user.password_hash))
    except Conflict:
        raise LinkUnusable from None
    return user


def _bound(facts: str, user: User) -> str:
    # The hash of today is part of what is signed: with another password the link is worth nothing.
    return f"{facts}\n{hashlib.sha256(user.password_hash.encode()).hexdigest()}"
