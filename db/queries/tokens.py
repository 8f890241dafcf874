"""Bearer tokens of the HTTP API. Only a hash is stored: whoever reads the database cannot use them."""

import hashlib
import secrets
import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.errors import NotFound
from db.models import ApiToken, User
from db.queries.pages import Page, page_of
from db.states import Role, TokenKind

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "ics_"
_LENGTH = 40  # 238 bits: no guessing, so a plain hash is enough.
_CHECKSUM = 6
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class NewToken:
    """What a token is to be: a user's, or nobody's with a role of its own. `lifetime` None is for ever, but not beyond `until`."""

    name: str
    role: Role | None = None
    user_id: int | None = None
    abilities: Sequence[str] | None = None
    lifetime: timedelta | None = None
    until: datetime | None = None
    kind: TokenKind = TokenKind.TOKEN


@dataclass(frozen=True)
class KnownToken:
    """A token that opens something now, and whose it is."""

    id: int
    name: str
    role: Role
    abilities: Sequence[str] | None
    user_id: int | None
    user_name: str | None
    last_used_at: datetime | None


def create_token(
    session: Session, name: str, *, role: Role = Role.ADMIN, lifetime: timedelta | None = None
) -> tuple[str, ApiToken]:
    """A new token that belongs to nobody: the text, which is shown once, and its row."""
    return insert_token(session, NewToken(name, role=role, lifetime=lifetime))


def insert_token(session: Session, new: NewToken) -> tuple[str, ApiToken]:
    """A new token: the text, which is shown once, and its row."""
    plain = new_text()
    token = ApiToken(
        name=new.name[:100],
        token_hash=hash_token(plain),
        hint=plain[:10],
        kind=new.kind,
        user_id=new.user_id,
        role=None if new.user_id is not None else new.role,
        abilities=None if new.abilities is None else sorted(set(new.abilities)),
        expires_at=None if new.lifetime is None else utc_in(new.lifetime.total_seconds()),
    )
    session.add(token)
    session.flush()
    session.refresh(token)
    if new.until is not None and (token.expires_at is None or token.expires_at > new.until):
        token.expires_at = new.until
        session.flush()
    return plain, token


def new_text() -> str:
    """`ics_`, 40 random characters, and 6 that are the CRC-32 of them: what looks for leaked secrets tells one from other text."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return PREFIX + body + checksum_of(body)


def checksum_of(body: str) -> str:
    """CRC-32 of the random characters, in base 62, six digits."""
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECKSUM):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


def is_well_formed(plain: str) -> bool:
    """Whether the text can be a token at all. Those made before there was a checksum have none."""
    body = plain.removeprefix(PREFIX)
    if body == plain or not body.isascii() or not body.isalnum():
        return False
    if len(body) == _LENGTH:
        return True
    return len(body) == _LENGTH + _CHECKSUM and checksum_of(body[:_LENGTH]) == body[_LENGTH:]


def find_active_token(session: Session, plain: str) -> KnownToken | None:
    """The token with this text, unless it was revoked, its time is over, or its user is not active any more."""
    if not is_well_formed(plain):
        return None
    row = session.execute(
        select(
            ApiToken.id,
            ApiToken.name,
            ApiToken.role,
            ApiToken.abilities,
            ApiToken.user_id,
            ApiToken.last_used_at,
            User.name,
            User.role,
        )
        .join(User, User.id == ApiToken.user_id, isouter=True)
        .where(ApiToken.token_hash == hash_token(plain), _is_active())
    ).one_or_none()
    if row is None:
        return None
    token_id, name, own_role, abilities, user_id, last_used_at, user_name, user_role = row
    role = user_role if user_id is not None else own_role
    return KnownToken(token_id, name, role or Role.VIEWER, abilities, user_id, user_name, last_used_at)


def hold_token(session: Session, token_id: int) -> ApiToken | None:
    """The token, locked, if it still opens something: it is not revoked before the end of the transaction."""
    token = session.get(ApiToken, token_id, with_for_update=True, populate_existing=True)
    return token if token is not None and list_active_tokens(session, [token_id]) else None


def list_active_tokens(session: Session, token_ids: Collection[int]) -> set[int]:
    """Which of these tokens still open something."""
    query = (
        select(ApiToken.id)
        .join(User, User.id == ApiToken.user_id, isouter=True)
        .where(ApiToken.id.in_(token_ids), _is_active())
    )
    return set(session.scalars(query))


def _is_active() -> ColumnElement[bool]:
    return and_(
        ApiToken.revoked_at.is_(None),
        or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > utc_now()),
        or_(ApiToken.user_id.is_(None), User.active.is_(True)),
    )


def list_tokens(session: Session, user_id: int | None, *, after: int, limit: int) -> Page[ApiToken]:
    """Tokens of a user, or those of nobody, in the order they were made; revoked ones are left out."""
    owner = ApiToken.user_id.is_(None) if user_id is None else ApiToken.user_id == user_id
    query = select(ApiToken).where(owner, ApiToken.revoked_at.is_(None))
    return page_of(session, query, ApiToken.id, after=after, limit=limit)


def get_token(session: Session, token_id: int, *, user_id: int | None) -> ApiToken:
    """A token of this user (of nobody: None). Raises NotFound, for somebody else's too."""
    token = session.get(ApiToken, token_id)
    if token is None or token.user_id != user_id or token.revoked_at is not None:
        raise NotFound("token", token_id)
    return token


def touch_token(session: Session, token_id: int) -> None:
    """Note the use of a token, at most once a minute."""
    session.execute(
        update(ApiToken)
        .where(
            ApiToken.id == token_id,
            ApiToken.last_used_at.is_(None) | (ApiToken.last_used_at < utc_in(-60)),
        )
        .values(last_used_at=utc_now())
        .execution_options(**_QUIET)
    )


def revoke_token(session: Session, token_id: int) -> None:
    """Raises NotFound."""
    if session.get(ApiToken, token_id) is None:
        raise NotFound("token", token_id)
    _revoke(session, ApiToken.id == token_id)


def revoke_tokens_of(session: Session, user_id: int, *, sparing: int | None = None) -> None:
    """All tokens and sessions of a user end, but for the one he uses now."""
    _revoke(session, ApiToken.user_id == user_id, ApiToken.id != (sparing or 0))


def _revoke(session: Session, *which: ColumnElement[bool]) -> None:
    session.execute(
        update(ApiToken)
        .where(ApiToken.revoked_at.is_(None), *which)
        .values(revoked_at=utc_now())
        .execution_options(**_QUIET)
    )


def hash_token(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
