"""Who uses the platform: people, their tokens, and what they did."""

from datetime import datetime

from sqlalchemy import Boolean, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import Role, TokenKind
from db.types import BigId, JsonDoc, UTCDateTime, exact, word


class User(Base):
    """A person who logs in. Never deleted, only made inactive: what was done stays somebody's."""

    __tablename__ = table("users")

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(exact(254), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[Role] = mapped_column(word(Role))
    password_hash: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(Boolean(create_constraint=False), default=True)
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
