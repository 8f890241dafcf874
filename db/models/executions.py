"""Flow executions and the ledger: who is written to, in which batch, and what became of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import Computed, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.models.flows import Flow
from db.models.templates import TemplateVersion
from db.states import BatchState, Channel, ExecutionState, MessageState
from db.types import BigId, JsonDoc, UTCDateTime, exact, short_word, word


class FlowExecution(Base):
    """One run of a flow over a snapshot of its audience.

    `uid` makes message references unique across installations. `attempt` counts the Prefect runs that were asked
    for; `dispatched_at` is when Prefect took the last one. `heartbeat_at` is renewed by the run that works on it.
    `waiting_since` is when it was resumed or retried, or last showed life before a run was asked for anew; None: since it was made.
    `idle_runs` are the runs since the last progress: a snapshot, or a batch that was claimed. `warning` says that complaints
    or bounces are many; while `is_guarded`, too many of them pause the execution by itself.
    """

    __tablename__ = table("flow_executions")

    id: Mapped[Id]
    uid: Mapped[str] = mapped_column(exact(12), unique=True)
    flow_id: Mapped[int] = mapped_column(ForeignKey(Flow.id))
    state: Mapped[ExecutionState] = mapped_column(word(ExecutionState), default=ExecutionState.QUEUED)
    reason: Mapped[str | None] = mapped_column(Text)
    trigger_key: Mapped[str | None] = mapped_column(exact(64))
    scheduled_for: Mapped[datetime | None] = mapped_column(UTCDateTime)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    idle_runs: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    prefect_flow_run_id: Mapped[str | None] = mapped_column(exact(36))
    dispatched_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    waiting_since: Mapped[datetime | None] = mapped_column(UTCDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    warning: Mapped[str | None] = mapped_column(Text)
    is_guarded: Mapped[bool] = mapped_column(default=True, server_default="1")
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (UniqueConstraint("flow_id", "trigger_key"), Index(None, "state", "id"))


class ExecutionStep(Base):
    """A step as it was when the execution started: the template's version and the sender are frozen here."""

    __tablename__ = table("execution_steps")

    id: Mapped[Id]
    execution_id: Mapped[int] = mapped_column(ForeignKey(FlowExecution.id, ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    channel: Mapped[Channel] = mapped_column(word(Channel))
    template_version_id: Mapped[int] = mapped_column(ForeignKey(TemplateVersion.id))
    client_list_id: Mapped[int] = mapped_column(BigId)
    sender: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    requires_consent: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (UniqueConstraint("execution_id", "position"),)


class Batch(Base):
    """Messages that leave in one request (email) or one claim (SMS).

    Its messages are the rows of the execution's step whose id lies in `first_message_id`..`last_message_id` and
    that are not excluded. `token` is the fencing token: it grows with each claim, and only its holder may write.
    """

    __tablename__ = table("batches")

    id: Mapped[Id]
    execution_id: Mapped[int] = mapped_column(ForeignKey(FlowExecution.id, ondelete="CASCADE"))
    step_id: Mapped[int] = mapped_column(ForeignKey(ExecutionStep.id, ondelete="CASCADE"))
    first_message_id: Mapped[int] = mapped_column(BigId)
    last_message_id: Mapped[int] = mapped_column(BigId)
    size: Mapped[int] = mapped_column(Integer)
    state: Mapped[BatchState] = mapped_column(word(BatchState), default=BatchState.PENDING)
    token: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    not_before: Mapped[datetime | None] = mapped_column(UTCDateTime)
    provider_message_id: Mapped[str | None] = mapped_column(exact(100))
    error: Mapped[str | None] = mapped_column(Text)
    updated_at: Mapped[UpdatedAt]

    __table_args__ = (
        Index(None, "execution_id", "state", "id"),
        Index(None, "execution_id", "first_message_id"),
        Index(None, "provider_message_id"),
    )


SPECIAL_STATE = Computed(
    "CASE WHEN state IN ('pending', 'accepted') THEN NULL ELSE state END", persisted=False
)
"""The state, where it is not on the way that nearly all messages go.

It is what people look for (unknown, failed, excluded, cancelled), and it is indexed in place of the state, so that the
way from pending to accepted passes through no index.
"""


class Message(Base):
    """One row of the ledger: one message of one step of one execution to one client.

    `reason` says why it was excluded or failed; `feedback` is the union of what providers reported (see
    `db.states.Feedback`). A deleted client's rows stay, so `client_id` has no foreign key.
    """

    __tablename__ = table("messages")

    id: Mapped[Id]
    execution_id: Mapped[int] = mapped_column(ForeignKey(FlowExecution.id))
    step_id: Mapped[int] = mapped_column(BigId)
    client_id: Mapped[int] = mapped_column(BigId)
    channel: Mapped[Channel] = mapped_column(short_word(Channel))
    address: Mapped[str | None] = mapped_column(exact(254))
    state: Mapped[MessageState] = mapped_column(short_word(MessageState))
    special_state: Mapped[str | None] = mapped_column(String(24), SPECIAL_STATE)
    reason: Mapped[str | None] = mapped_column(String(200))
    feedback: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    provider_message_id: Mapped[str | None] = mapped_column(exact(100))
    parts: Mapped[int | None] = mapped_column(Integer)

    # The unique key starts with the client, so that it also serves a client's timeline.
    __table_args__ = (
        UniqueConstraint("client_id", "execution_id", "step_id", "channel", name="uq_" + table("messages")),
        Index(None, "execution_id", "special_state", "id"),
    )
