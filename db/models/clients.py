"""Clients and the lists they are on."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.fields import FieldKind, FieldType
from db.states import Channel, Consent, ListKind
from db.types import BigId, JsonDoc, UTCDateTime, exact, word


class Client(Base):
    """A person. `identity_key` is the lower-case email, or the phone of someone without one: what an import
    recognises a client by. Emails are kept in lower case, since suppressions must match them. `import_id` is the member
    import that created the client."""

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
    import_id: Mapped[int | None] = mapped_column(BigId, index=True)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (Index(None, "last_name", "first_name"), Index(None, "first_name"))


class CustomField(Base):
    """A custom field, defined once: what `clients.custom_fields` may hold under `key`."""

    __tablename__ = table("custom_fields")

    id: Mapped[Id]
    key: Mapped[str] = mapped_column(exact(64), unique=True)
    label: Mapped[str] = mapped_column(String(150), default="")
    kind: Mapped[FieldKind] = mapped_column(word(FieldKind))
    choices: Mapped[list[str]] = mapped_column(JsonDoc, default=list)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    @property
    def type(self) -> FieldType:
        return FieldType(self.key, self.kind, tuple(self.choices))


class ConsentChange(Base):
    """What a client said about being written to, when, where and in which words. Rows are only added; those of a person who
    has to be forgotten are deleted."""

    __tablename__ = table("consent_log")

    id: Mapped[Id]
    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id, ondelete="CASCADE"))
    channel: Mapped[Channel] = mapped_column(word(Channel))
    consent: Mapped[Consent] = mapped_column(word(Consent))
    given_at: Mapped[CreatedAt]
    source: Mapped[str] = mapped_column(String(60))
    wording: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (Index(None, "client_id", "id"),)


class ClientMerge(Base):
    """A client that was merged into another: who asks for the old id is told where it went."""

    __tablename__ = table("client_merges")

    merged_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id, ondelete="CASCADE"), index=True)
    merged_by: Mapped[str] = mapped_column(String(100))
    merged_at: Mapped[CreatedAt]


class ClientList(Base):
    """Static: its members are rows of `client_list_members`. Dynamic: they are whom `rule` describes now.

    `member_count` is what was counted at `counted_at`, for lists too large to be counted each time. `count_tried_at` is when that was
    tried last, and `count_seconds` how long it took; the two are later where it took too long.
    """

    __tablename__ = table("client_lists")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(150), unique=True)
    description: Mapped[str] = mapped_column(Text, default="")
    kind: Mapped[ListKind] = mapped_column(word(ListKind), default=ListKind.STATIC)
    rule: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)
    member_count: Mapped[int | None] = mapped_column(Integer)
    counted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    count_seconds: Mapped[float | None] = mapped_column(Double)
    count_tried_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class ClientListMember(Base):
    """One client on one static list; `import_id` is the member import that put it there."""

    __tablename__ = table("client_list_members")

    client_list_id: Mapped[int] = mapped_column(
        ForeignKey(ClientList.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    client_id: Mapped[int] = mapped_column(
        ForeignKey(Client.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    added_at: Mapped[CreatedAt]
    import_id: Mapped[int | None] = mapped_column(BigId)

    __table_args__ = (Index(None, "client_id"),)


class FormerMember(Base):
    """A client that was on a static list, and when: its timeline shows what the list itself has forgotten."""

    __tablename__ = table("former_members")

    id: Mapped[Id]
    client_list_id: Mapped[int] = mapped_column(BigId)
    client_id: Mapped[int] = mapped_column(ForeignKey(Client.id, ondelete="CASCADE"), index=True)
    added_at: Mapped[datetime] = mapped_column(UTCDateTime)
    removed_at: Mapped[CreatedAt]
    removed_by: Mapped[str] = mapped_column(String(60))
