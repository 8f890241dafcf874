"""Webhooks that we send: who wants to be told of what, and whether he has been."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.dialect import utc_now
from db.states import DeliveryState
from db.types import JsonDoc, UTCDateTime, blob, exact, word


class WebhookEndpoint(Base):
    """An address of another system, and the kinds of events it wants. Secrets are encrypted with the installation's key."""

    __tablename__ = table("webhook_endpoints")

    id: Mapped[Id]
    url: Mapped[str] = mapped_column(String(500))
    description: Mapped[str] = mapped_column(String(200), default="")
    events: Mapped[list[str]] = mapped_column(JsonDoc)
    secret: Mapped[bytes] = mapped_column(blob(1000))
    old_secret: Mapped[bytes | None] = mapped_column(blob(1000))
    old_secret_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    active: Mapped[bool] = mapped_column(default=True)
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    failing_since: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_by: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class OutgoingEvent(Base):
    """A fact, written in the transaction that made it one. `data` has ids, counts and times, and no personal data."""

    __tablename__ = table("outgoing_events")

    id: Mapped[Id]
    uid: Mapped[str] = mapped_column(exact(40), unique=True)
    kind: Mapped[str] = mapped_column(exact(40))
    data: Mapped[dict[str, Any]] = mapped_column(JsonDoc)
    created_at: Mapped[CreatedAt]

    __table_args__ = (Index(None, "created_at"),)


class OutgoingDelivery(Base):
    """An event on its way to an endpoint. `attempts` is the fencing token too: who claims counts on, and only he may write."""

    __tablename__ = table("outgoing_deliveries")

    id: Mapped[Id]
    event_id: Mapped[int] = mapped_column(ForeignKey(OutgoingEvent.id, ondelete="CASCADE"))
    endpoint_id: Mapped[int] = mapped_column(ForeignKey(WebhookEndpoint.id, ondelete="CASCADE"))
    state: Mapped[DeliveryState] = mapped_column(word(DeliveryState), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    due_at: Mapped[datetime] = mapped_column(UTCDateTime, server_default=utc_now())
    status: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]
    delivered_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (
        UniqueConstraint("event_id", "endpoint_id"),
        Index(None, "endpoint_id", "state", "due_at"),
        Index(None, "endpoint_id", "id"),
    )
