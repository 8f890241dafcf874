"""Requests with an `Idempotency-Key`: the first one is done, the others get its answer."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.dialect import utc_in
from db.models import IdempotencyKey

_TRIES = 5
_QUIET = {"synchronize_session": False}


@dataclass(frozen=True)
class Earlier:
    """A request that came before with the same key. `status` None: it has no answer, yet or for ever."""

    request_hash: str
    status: int | None
    answer: bytes | None


def claim_key(session: Session, token_id: int, key_hash: str, request_hash: str) -> Earlier | None:
    """None: the key is ours, and the request is to be done. Otherwise the request that had it first."""
    for _ in range(_TRIES):
        try:
            with session.begin_nested():
                session.add(IdempotencyKey(token_id=token_id, key_hash=key_hash, request_hash=request_hash))
        except IntegrityError:
            found = session.scalars(
                select(IdempotencyKey).where(
                    IdempotencyKey.token_id == token_id, IdempotencyKey.key_hash == key_hash
                )
            ).one_or_none()
            if found is not None:
                return Earlier(found.request_hash, found.status, found.answer)
        else:
            return None
    # Claimed and released by others again and again: as if one of them were still at it.
    return Earlier(request_hash, None, None)


def keep_answer(session: Session, token_id: int, key_hash: str, *, status: int, answer: bytes | None) -> None:
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.token_id == token_id, IdempotencyKey.key_hash == key_hash)
        .values(status=status, answer=answer)
        .execution_options(**_QUIET)
    )


def release_key(session: Session, token_id: int, key_hash: str) -> None:
    """Nothing was done: the same key may be used again."""
    session.execute(
        delete(IdempotencyKey)
        .where(IdempotencyKey.token_id == token_id, IdempotencyKey.key_hash == key_hash)
        .execution_options(**_QUIET)
    )


def delete_old_keys(session: Session, *, older_than: timedelta, limit: int) -> int:
    """Forget keys that were used so long ago; returns how many."""
    ids = session.scalars(
        select(IdempotencyKey.id)
        .where(IdempotencyKey.created_at < utc_in(-older_than.total_seconds()))
        .order_by(IdempotencyKey.created_at)
        .limit(limit)
    ).all()
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.id.in_(ids)).execution_options(**_QUIET))
    return len(ids)
