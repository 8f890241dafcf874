"""What comes back: the inbox of raw webhooks, the events in them, and the counts they add up to."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, table
from db.models.executions import FlowExecution
from db.states import InboxState
from db.types import BigId, JsonDoc, UTCDateTime, blob, exact, word

Fingerprint = LargeBinary(32).with_variant(mysql.BINARY(32), "mysql", "mariadb")


class WebhookDelivery(Base):
    """One verified POST of a provider, byte for byte, committed before it is acknowledged."""

    __tablename__ = table("webhook_deliveries")

    id: Mapped[Id]
    source: Mapped[str] = mapped_column(String(24))
    content_type: Mapped[str] = mapped_column(String(100), default="")
    query: Mapped[str] = mapped_column(Text, default="")
    body: Mapped[bytes] = mapped_column(blob(2**24 - 1))
    state: Mapped[InboxState] = mapped_column(word(InboxState), default=InboxState.RECEIVED)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[CreatedAt]
    applied_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index(None, "state", "id"),)


class Event(Base):
    """One fact about a message. The fingerprint drops copies: see `tasks/providers/events.py`.

    `client_id` is that of the message: segments look for what a client did along the index that begins with it.
    """

    __tablename__ = table("events")

    id: Mapped[Id]
    fingerprint: Mapped[bytes] = mapped_column(Fingerprint, unique=True)
    provider_event_id: Mapped[str | None] = mapped_column(exact(100), unique=True)
    delivery_id: Mapped[int | None] = mapped_column(BigId)
    provider: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(24))
    message_id: Mapped[int | None] = mapped_column(BigId, index=True)
    client_id: Mapped[int | None] = mapped_column(BigId)
    address: Mapped[str | None] = mapped_column(exact(254))
    occurred_at: Mapped[datetime] = mapped_column(UTCDateTime)
    url: Mapped[str | None] = mapped_column(Text)
    classification: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(Text)
    raw: Mapped[dict[str, Any]] = mapped_column(JsonDoc)

    __table_args__ = (Index(None, "client_id", "kind", "occurred_at"),)


def _count() -> Mapped[int]:
    return mapped_column(Integer, default=0, server_default="0")


class Stats(Base):
    """Counts of one execution, moved in the same transactions as the ledger: always equal to a recount of it."""

    __tablename__ = table("stats")

    execution_id: Mapped[int] = mapped_column(
        ForeignKey(FlowExecution.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    intended: Mapped[int] = _count()
    pending: Mapped[int] = _count()
    excluded: Mapped[int] = _count()
    sending: Mapped[int] = _count()
    accepted: Mapped[int] = _count()
    failed: Mapped[int] = _count()
    unknown: Mapped[int] = _count()
    cancelled: Mapped[int] = _count()
    processed: Mapped[int] = _count()
    deferred: Mapped[int] = _count()
    delivered: Mapped[int] = _count()
    bounced: Mapped[int] = _count()
    blocked: Mapped[int] = _count()
    dropped: Mapped[int] = _count()
    opened: Mapped[int] = _count()
    machine_opened: Mapped[int] = _count()
    clicked: Mapped[int] = _count()
    complained: Mapped[int] = _count()
    unsubscribed: Mapped[int] = _count()


class SendmodeStats(Base):
    """What only SMS has, per execution; the states themselves are in `Stats`."""

    __tablename__ = table("sendmode_stats")

    execution_id: Mapped[int] = mapped_column(
        ForeignKey(FlowExecution.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    sent: Mapped[int] = _count()
    parts: Mapped[int] = _count()
    delivered: Mapped[int] = _count()
    undelivered: Mapped[int] = _count()
    expired: Mapped[int] = _count()
    rejected: Mapped[int] = _count()
    replied: Mapped[int] = _count()
    opted_out: Mapped[int] = _count()
