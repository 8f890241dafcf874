"""Marketing flows, their steps and their schedules."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.models.clients import ClientList
from db.models.templates import Template
from db.states import FlowState, MissedPolicy, ScheduleKind, StepKind, UnsubscribeScope
from db.types import BigId, JsonDoc, UTCDateTime, exact, word


class Flow(Base):
    """A marketing flow. `sender` holds from_email, from_name and reply_to for email, sender_id for SMS.

    `topic` is what its receivers may call it: a flow that has one can be chosen on the preference page. `unsubscribe_scope` is
    what the link in its messages ends by one click. `deployment_synced_at` is when Prefect last got the state of this row; NULL means that it still has to.
    """

    __tablename__ = table("flows")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(150), unique=True)
    state: Mapped[FlowState] = mapped_column(word(FlowState), default=FlowState.DRAFT)
    client_list_id: Mapped[int | None] = mapped_column(ForeignKey(ClientList.id))
    sender: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    requires_consent: Mapped[bool] = mapped_column(default=False)
    topic: Mapped[str | None] = mapped_column(String(100))
    unsubscribe_scope: Mapped[UnsubscribeScope] = mapped_column(
        word(UnsubscribeScope), default=UnsubscribeScope.EVERYWHERE, server_default="everywhere"
    )
    deployment_synced_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]


class FlowStep(Base):
    """One action of a flow. A campaign is a flow with one send step."""

    __tablename__ = table("flow_steps")

    id: Mapped[Id]
    flow_id: Mapped[int] = mapped_column(ForeignKey(Flow.id, ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    kind: Mapped[StepKind] = mapped_column(word(StepKind), default=StepKind.SEND)
    template_id: Mapped[int | None] = mapped_column(ForeignKey(Template.id))

    __table_args__ = (UniqueConstraint("flow_id", "position"),)


class FlowSchedule(Base):
    """When a flow is sent. This row is the truth; Prefect's schedule is a copy of it.

    `expression` is an ISO moment, a cron expression or an RRULE, read in `time_zone`. `next_run_at` is the next
    occurrence nobody has opened an execution for yet.
    """

    __tablename__ = table("flow_schedules")

    id: Mapped[Id]
    flow_id: Mapped[int] = mapped_column(ForeignKey(Flow.id, ondelete="CASCADE"), unique=True)
    kind: Mapped[ScheduleKind] = mapped_column(word(ScheduleKind))
    expression: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(String(64))
    starts_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    missed_policy: Mapped[MissedPolicy] = mapped_column(word(MissedPolicy), default=MissedPolicy.SEND)
    active: Mapped[bool] = mapped_column(default=True)
    set_by: Mapped[str | None] = mapped_column(String(100))
    set_by_user_id: Mapped[int | None] = mapped_column(BigId)
    next_run_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_run_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    last_skipped_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (Index(None, "active", "next_run_at"),)
