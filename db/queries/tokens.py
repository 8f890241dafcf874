"""Bearer tokens of the HTTP API. Only a hash is stored: whoever reads the database cannot use them."""

import hashlib
import secrets
from collections.abc import Collection

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.dialect import utc_in, utc_now
from db.errors import NotFound
from db.models import ApiToken

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX = "ics_"
_LENGTH = 40  # 238 bits: no guessing, so a plain hash is enough.


def create_token(session: Session, name: str) -> tuple[str, ApiToken]:
    """A new token: the text, which is shown once, and its row."""
    plain = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    token = ApiToken(name=name[:100], token_hash=hash_token(plain), hint=plain[:10])
    session.add(token)
    session.flush()
    return plain, token


def find_active_token(session: Session, plain: str) -> ApiToken | None:
    """The token with this text unless it was revoked."""
    return session.scalars(
        select(ApiToken).where(ApiToken.token_hash == hash_token(plain), ApiToken.revoked_at.is_(None))
    ).one_or_none()


def list_active_tokens(session: Session, token_ids: Collection[int]) -> set[int]:
    """Which of these tokens were not revoked."""
    query = select(ApiToken.id).where(ApiToken.id.in_(token_ids), ApiToken.revoked_at.is_(None))
    return set(session.scalars(query))


def touch_token(session: Session, token_id: int) -> None:
    """Note the use of a token, at most once a minute."""
    session.execute(
        update(ApiToken)
        .where(
            ApiToken.id == token_id,
            ApiToken.last_used_at.is_(None) | (ApiToken.last_used_at < utc_in(-60)),
        )
        .values(last_used_at=utc_now())
        .execution_options(synchronize_session=False)
    )


def revoke_token(session: Session, token_id: int) -> None:
    token = session.get(ApiToken, token_id)
    if token is None:
        raise NotFound("token", token_id)
    session.execute(update(ApiToken).where(ApiToken.id == token_id).values(revoked_at=utc_now()))


def hash_token(plain: str) -> str:
    return hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()
