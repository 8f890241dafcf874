"""Clients and the lists they are on."""

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import Consent, ListKind
from db.types import JsonDoc, exact, word


class Client(Base):
    """A person. `identity_key` is the lower-case email, or the phone of someone without one: what an import
    recognises a client by. Emails are kept in lower case, since suppressions must match them."""

    __tablename__ = table("clients")

    id: Mapped[Id]
    identity_key: Mapped[str] = mapped_column(exact(254), unique=True)
    external_id: Mapped[str | None] = mapped_column(exact(100), index=True)
    email: Mapped[str | None] = mapped_column(exact(254), index=True)
    phone: Mapped[str | None] = mapped_column(exact(16), index=True)
    first_name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    last_name: Mapped[str] = mapped_column(String(100), default="", server_default="")
    time_zone: Mapped[str | None] = mapped_column(String(64))
    locale: Mapped[str | None] = mapped_column(String(35))
    tags: Mapped[list[str]] = mapped_column(JsonDoc, default=list)
    custom_fields: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    email_consent: Mapped[Consent] = mapped_column(word(Consent), default=Consent.UNKNOWN)
    sms_consent: Mapped[Consent] = mapped_column(word(Consent), default=Consent.UNKNOWN)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class ClientList(Base):
    __tablename__ = table("client_lists")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(150), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    kind: Mapped[ListKind] = mapped_column(word(ListKind), default=ListKind.STATIC)
    rule: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class ClientListMember(Base):
    """One client on one static list."""

    __tablename__ = table("client_list_members")

    client_list_id: Mapped[int] = mapped_column(
        ForeignKey(ClientList.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    client_id: Mapped[int] = mapped_column(
        ForeignKey(Client.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    added_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "client_id"),)
