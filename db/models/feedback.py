"""What comes back: the inbox of raw webhooks, the events in them, and the counts they add up to."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, table
from db.models.executions import FlowExecution
from db.states import Breakdown, InboxState, WebhookEventState, WebhookProblem
from db.types import BigId, JsonDoc, UTCDateTime, blob, exact, word

Fingerprint = LargeBinary(32).with_variant(mysql.BINARY(32), "mysql", "mariadb")


class WebhookDelivery(Base):
    """One verified POST of a provider, byte for byte, committed before it is acknowledged. `size` is that of the body as it came."""

    __tablename__ = table("webhook_deliveries")

    id: Mapped[Id]
    source: Mapped[str] = mapped_column(String(24))
    content_type: Mapped[str] = mapped_column(String(100), default="")
    query: Mapped[str] = mapped_column(Text, default="")
    body: Mapped[bytes] = mapped_column(blob(2**24 - 1))
    size: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    state: Mapped[InboxState] = mapped_column(word(InboxState), default=InboxState.RECEIVED)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    received_at: Mapped[CreatedAt]
    applied_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    # The second one is for looking at how long webhooks wait.
    __table_args__ = (Index(None, "state", "id"), Index(None, "applied_at", "received_at"))


class Event(Base):
    """One fact about a message. The fingerprint drops copies: see `tasks/providers/events.py`.

    `client_id` and `execution_id` are those of the message: segments look for what a client did along the index that begins
    with the one, the links of an execution are counted along the other. Opens and
    clicks that no person made have kinds of their own; a click may get the other one when more is known of its message.
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
    execution_id: Mapped[int | None] = mapped_column(BigId)
    address: Mapped[str | None] = mapped_column(exact(254))
    occurred_at: Mapped[datetime] = mapped_column(UTCDateTime)
    url: Mapped[str | None] = mapped_column(Text)
    classification: Mapped[str | None] = mapped_column(String(100))
    reason: Mapped[str | None] = mapped_column(Text)
    raw: Mapped[dict[str, Any]] = mapped_column(JsonDoc)

    __table_args__ = (
        Index(None, "client_id", "kind", "occurred_at"),
        Index(None, "execution_id", "kind"),
    )


class WebhookEvent(Base):
    """An event of a webhook that could not be applied, until it is. What it says stays in the webhook it came in.

    `fingerprint` finds it there, and drops the copies of later webhooks. `reason` names nobody.
    """

    __tablename__ = table("webhook_events")

    id: Mapped[Id]
    fingerprint: Mapped[bytes] = mapped_column(Fingerprint, unique=True)
    delivery_id: Mapped[int] = mapped_column(BigId, index=True)
    source: Mapped[str] = mapped_column(String(24))
    kind: Mapped[str | None] = mapped_column(String(24))
    problem: Mapped[WebhookProblem] = mapped_column(word(WebhookProblem))
    reason: Mapped[str] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(exact(40))
    state: Mapped[WebhookEventState] = mapped_column(word(WebhookEventState), default=WebhookEventState.OPEN)
    attempts: Mapped[int] = mapped_column(Integer, default=1)
    occurred_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    tried_at: Mapped[CreatedAt]
    replayed_by: Mapped[str | None] = mapped_column(String(100))

    __table_args__ = (Index(None, "state", "id"),)


def _count() -> Mapped[int]:
    return mapped_column(Integer, default=0, server_default="0")


class Stats(Base):
    """Counts of one execution, moved in the same transactions as the ledger: always equal to a recount of it.

    Messages, but for `opens`, `clicks` and those of machines: these are events. `opened` and `clicked` are by people,
    `..._by_any` by people or machines. `bounced_by_any` bounced hard or soft.
    """

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
    machine_clicked: Mapped[int] = _count()
    opened_by_any: Mapped[int] = _count()
    clicked_by_any: Mapped[int] = _count()
    opens: Mapped[int] = _count()
    machine_opens: Mapped[int] = _count()
    clicks: Mapped[int] = _count()
    machine_clicks: Mapped[int] = _count()
    bounced_by_any: Mapped[int] = _count()


class StatsReason(Base):
    """The counts of `stats` that have reasons, one row for each: exclusions, bounces by class, drops by reason."""

    __tablename__ = table("stats_reasons")

    execution_id: Mapped[int] = mapped_column(
        ForeignKey(FlowExecution.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    breakdown: Mapped[Breakdown] = mapped_column(word(Breakdown), primary_key=True)
    reason: Mapped[str] = mapped_column(exact(40), primary_key=True)
    count: Mapped[int] = _count()


class StatsMinute(Base):
    """How many events of a kind an execution had in a minute, moved in the same transactions as `stats`.

    `kind` is that of the event, `machine_open` and `machine_click` apart, or `accepted`, which we know ourselves.
    """

    __tablename__ = table("stats_minutes")

    execution_id: Mapped[int] = mapped_column(
        ForeignKey(FlowExecution.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    minute: Mapped[datetime] = mapped_column(UTCDateTime, primary_key=True)
    kind: Mapped[str] = mapped_column(exact(24), primary_key=True)
    count: Mapped[int] = _count()


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
