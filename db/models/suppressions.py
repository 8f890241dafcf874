"""Addresses that must not be written to."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import Channel, SuppressionReason
from db.types import BigId, UTCDateTime, exact, word

EVERYWHERE = 0
"""The scope of a suppression that holds for all flows; any other scope is a flow's id."""


class Unsubscribed(Base):
    """A suppression. One row per address, scope and reason; of two changes the one with the later
    `effective_at` wins, so that the order in which they arrive does not matter."""

    __tablename__ = table("unsubscribed")

    id: Mapped[Id]
    channel: Mapped[Channel] = mapped_column(word(Channel))
    address: Mapped[str] = mapped_column(exact(254))
    scope: Mapped[int] = mapped_column(BigId, default=EVERYWHERE)
    reason: Mapped[SuppressionReason] = mapped_column(word(SuppressionReason))
    active: Mapped[bool] = mapped_column(default=True)
    effective_at: Mapped[datetime] = mapped_column(UTCDateTime)
    source: Mapped[str] = mapped_column(String(40))
    evidence: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        UniqueConstraint("channel", "address", "scope", "reason", name="uq_" + table("unsubscribed")),
        Index(None, "active", "id"),
    )


class UnsubscribedChange(Base):
    """What happened to a suppression, one row for each change that was made: who or what did it, when, and on what evidence.

    Never changed. The rows of somebody who is erased go with their suppressions.
    """

    __tablename__ = table("unsubscribed_changes")

    id: Mapped[Id]
    suppression_id: Mapped[int] = mapped_column(ForeignKey(Unsubscribed.id, ondelete="CASCADE"), index=True)
    active: Mapped[bool]
    effective_at: Mapped[datetime] = mapped_column(UTCDateTime)
    source: Mapped[str] = mapped_column(String(40))
    evidence: Mapped[str | None] = mapped_column(Text)
    changed_at: Mapped[CreatedAt]


class Gate(Base):
    """A row to lock. Whoever suppresses holds it alone; whoever commits `sending` holds it with others of its
    kind. So no batch can commit `sending` with an address whose suppression was committed before it."""

    __tablename__ = table("gates")

    name: Mapped[str] = mapped_column(exact(40), primary_key=True)
