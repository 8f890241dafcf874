"""Who uses the platform: people, their tokens, and what they did."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import Role, TokenKind
from db.types import BigId, JsonDoc, UTCDateTime, blob, exact, word


class User(Base):
    """A person who logs in. Never deleted, only made inactive: what was done stays somebody's."""

    __tablename__ = table("users")

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(exact(254), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[Role] = mapped_column(word(Role))
    password_hash: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    last_login_at: Mapped[datetime | None] = mapped_column(UTCDateTime)


class ApiToken(Base):
    """A bearer token; only its SHA-256 is kept. `hint` is its beginning, to tell tokens apart.

    It belongs to a user and has the role the user has, or to nobody (made on the machine itself) and has a role of its own.
    `abilities` narrow the role; null is all of it. What a login gives is of the kind `session`.
    """

    __tablename__ = table("api_tokens")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(String(100))
    token_hash: Mapped[str] = mapped_column(exact(64), unique=True)
    hint: Mapped[str] = mapped_column(String(16))
    kind: Mapped[TokenKind] = mapped_column(word(TokenKind), default=TokenKind.TOKEN, server_default="token")
    user_id: Mapped[int | None] = mapped_column(BigId)
    role: Mapped[Role | None] = mapped_column(word(Role))
    abilities: Mapped[list[str] | None] = mapped_column(JsonDoc)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index(None, "user_id", "id"),)


class AuditEntry(Base):
    """Somebody is about to do something: written, and committed, before it is done. Never changed.

    `action` is the ability that it took, `subject` what it is done to: ids and words, no personal data.
    """

    __tablename__ = table("audit_entries")

    id: Mapped[Id]
    at: Mapped[CreatedAt]
    who: Mapped[str] = mapped_column(String(120))
    user_id: Mapped[int | None] = mapped_column(BigId)
    token_id: Mapped[int | None] = mapped_column(BigId)
    action: Mapped[str] = mapped_column(exact(40))
    route: Mapped[str | None] = mapped_column(exact(150))
    subject: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    address: Mapped[str | None] = mapped_column(exact(45))
    request_id: Mapped[str | None] = mapped_column(exact(64))

    __table_args__ = (Index(None, "action", "id"), Index(None, "user_id", "id"))


class AuditOutcome(Base):
    """What came of it: the status of the answer, and ids that were not known before. An entry without one was cut off."""

    __tablename__ = table("audit_outcomes")

    entry_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    at: Mapped[CreatedAt]
    status: Mapped[int] = mapped_column(Integer)
    details: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)


class AuditSeal(Base):
    """A keyed digest over the entries from `first_entry_id` to `last_entry_id`, their outcomes, and the seal before."""

    __tablename__ = table("audit_seals")

    id: Mapped[Id]
    first_entry_id: Mapped[int] = mapped_column(BigId)
    last_entry_id: Mapped[int] = mapped_column(BigId, unique=True)
    entries: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(exact(64))
    sealed_at: Mapped[CreatedAt]


class IdempotencyKey(Base):
    """A request that came with an `Idempotency-Key`. `status` is null while it is worked on, or when that was cut off.

    The key itself is not kept, and the answer only as what nobody without the key can read.
    """

    __tablename__ = table("idempotency_keys")

    id: Mapped[Id]
    token_id: Mapped[int] = mapped_column(BigId)
    key_hash: Mapped[str] = mapped_column(exact(64))
    request_hash: Mapped[str] = mapped_column(exact(64))
    status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[bytes | None] = mapped_column(blob(2**24 - 1))
    created_at: Mapped[CreatedAt]

    __table_args__ = (UniqueConstraint("token_id", "key_hash"), Index(None, "created_at"))
