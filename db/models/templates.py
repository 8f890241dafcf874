"""Templates and their versions. A version never changes: an execution keeps the one it started with."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import Channel
from db.types import UTCDateTime, exact, word

LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


class Template(Base):
    __tablename__ = table("templates")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(150), unique=True)
    channel: Mapped[Channel] = mapped_column(word(Channel))
    current_version: Mapped[int] = mapped_column(Integer, default=1)
    archived_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class TemplateVersion(Base):
    __tablename__ = table("template_versions")

    id: Mapped[Id]
    template_id: Mapped[int] = mapped_column(ForeignKey(Template.id, ondelete="CASCADE"))
    version: Mapped[int] = mapped_column(Integer)
    subject: Mapped[str] = mapped_column(String(998), default="")
    html: Mapped[str] = mapped_column(LongText, default="")
    text: Mapped[str] = mapped_column(LongText, default="")
    created_at: Mapped[CreatedAt]

    __table_args__ = (UniqueConstraint("template_id", "version"),)
