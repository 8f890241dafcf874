"""The CMS: landing pages, their files, and who signs up on them."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import MailState, PageFormat, SignUpState
from db.types import BigId, JsonDoc, UTCDateTime, blob, exact, word


class Page(Base):
    """A landing page at `/p/{slug}`. What it says stands in its versions.

    `published_at` stays when it is taken away: somebody may have seen its slug. `scheduled_version` takes the place of `published_version` from `scheduled_at` on, without anybody doing anything: whoever reads
    the page compares with the clock.
    """

    __tablename__ = table("pages")

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(exact(100), unique=True)
    current_version: Mapped[int] = mapped_column(Integer, default=1)
    published_version: Mapped[int | None] = mapped_column(Integer)
    scheduled_version: Mapped[int | None] = mapped_column(Integer)
    scheduled_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class PageVersion(Base):
    """What a page said at some time; never changed. `source` is what was written, `html` what became of it, sanitised."""

    __tablename__ = table("page_versions")

    id: Mapped[Id]
    page_id: Mapped[int] = mapped_column(ForeignKey(Page.id, ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    title: Mapped[str] = mapped_column(String(200))
    format: Mapped[PageFormat] = mapped_column(word(PageFormat))
    source: Mapped[bytes] = mapped_column(blob(2**24 - 1))
    html: Mapped[bytes] = mapped_column(blob(2**24 - 1))
    seo: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    form: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)
    thanks: Mapped[str] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[CreatedAt]

    __table_args__ = (UniqueConstraint("page_id", "version"),)


class PageRedirect(Base):
    """A slug that a page had: who asks for it is sent to the page, whatever its slug is by then."""

    __tablename__ = table("page_redirects")

    id: Mapped[Id]
    slug: Mapped[str] = mapped_column(exact(100), unique=True)
    page_id: Mapped[int] = mapped_column(ForeignKey(Page.id, ondelete="CASCADE"), index=True)


class Asset(Base):
    """A file at `/assets/{name}`. The name is made up; `title` is what the file was called. `media_type` is told from the content."""

    __tablename__ = table("assets")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(60), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    media_type: Mapped[str] = mapped_column(exact(60))
    size: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str] = mapped_column(exact(64))
    content: Mapped[bytes] = mapped_column(blob(2**32 - 1))
    created_by: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[CreatedAt]


class SignUp(Base):
    """Somebody typed an address into a form. Nothing is done with it until its owner confirms; then `email` and `given` are in the
    client, and are forgotten here. `mail` is what became of the mail that asks for it: sent at most once, not before `due_at`.

    `mailbox` is whose the address is, however it is written. `page_id` 0: the page was deleted.
    """

    __tablename__ = table("sign_ups")

    id: Mapped[Id]
    page_id: Mapped[int] = mapped_column(BigId)
    version: Mapped[int] = mapped_column(Integer)
    email: Mapped[str | None] = mapped_column(exact(254))
    mailbox: Mapped[str | None] = mapped_column(exact(254))
    given: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    utm: Mapped[dict[str, str]] = mapped_column(JsonDoc, default=dict)
    state: Mapped[SignUpState] = mapped_column(word(SignUpState), default=SignUpState.PENDING)
    mail: Mapped[MailState] = mapped_column(word(MailState), default=MailState.QUEUED)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    error: Mapped[str | None] = mapped_column(String(200))
    client_id: Mapped[int | None] = mapped_column(BigId)
    address: Mapped[str | None] = mapped_column(exact(45))
    created_at: Mapped[CreatedAt]
    tried_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    due_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    confirmed_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        Index(None, "email", "created_at"),
        Index(None, "mailbox", "created_at"),
        Index(None, "mail", "id"),
        Index(None, "state", "created_at"),
        Index(None, "page_id", "id"),
    )


class PageCount(Base):
    """Of a day and where people came from; empty text where nothing was said."""

    __tablename__ = table("page_counts")

    page_id: Mapped[int] = mapped_column(ForeignKey(Page.id, ondelete="CASCADE"), primary_key=True)
    day: Mapped[date] = mapped_column(Date, primary_key=True)
    source: Mapped[str] = mapped_column(exact(60), primary_key=True)
    medium: Mapped[str] = mapped_column(exact(60), primary_key=True)
    campaign: Mapped[str] = mapped_column(exact(60), primary_key=True)
    views: Mapped[int] = mapped_column(BigId, default=0, server_default="0")
    sign_ups: Mapped[int] = mapped_column(BigId, default=0, server_default="0")
    conversions: Mapped[int] = mapped_column(BigId, default=0, server_default="0")
