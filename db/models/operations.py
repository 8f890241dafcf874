"""What the operator looks at: work that gave up, and decisions of people."""

from datetime import datetime
from typing import Any

from sqlalchemy import Double, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.states import BulkAction, BulkState, JobState
from db.types import BigId, JsonDoc, UTCDateTime, exact, word


class FailedJob(Base):
    """A unit of work that gave up, kept for people to see and retry (`db.states.JobKind`). `subject` says what: ids only."""

    __tablename__ = table("failed_jobs")

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(String(40))
    execution_id: Mapped[int | None] = mapped_column(BigId, index=True)
    subject: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    error: Mapped[str] = mapped_column(Text)
    state: Mapped[JobState] = mapped_column(word(JobState), default=JobState.OPEN)
    failed_at: Mapped[CreatedAt]
    retried_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    retried_by: Mapped[str | None] = mapped_column(String(100))

    __table_args__ = (Index(None, "state", "id"),)


class Approval(Base):
    """A decision that only a person may take, such as sending again what may have been sent: who, when, what."""

    __tablename__ = table("approvals")

    id: Mapped[Id]
    action: Mapped[str] = mapped_column(String(40))
    execution_id: Mapped[int | None] = mapped_column(BigId, index=True)
    approved_by: Mapped[str] = mapped_column(String(100))
    details: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    approved_at: Mapped[CreatedAt]


class BulkOperation(Base):
    """One change to many clients: chosen by id (`client_ids`) or by a segment `rule`.

    Clients are walked by id, and `last_client_id` moves past a piece in the transaction that changes it; those who came after
    `until_client_id` are left alone. `matched_count` are those it was about when it was asked for, `done_count` those it came
    to, `changed_count` those for whom anything was different afterwards, `skipped_count` those who have too many tags already.
    `attempt`, `idle_runs`, `dispatched_at` and `heartbeat_at` are those of a member import.
    """

    __tablename__ = table("bulk_operations")

    id: Mapped[Id]
    uid: Mapped[str] = mapped_column(exact(12), unique=True)
    action: Mapped[BulkAction] = mapped_column(word(BulkAction))
    arguments: Mapped[dict[str, Any]] = mapped_column(JsonDoc, default=dict)
    client_ids: Mapped[list[int] | None] = mapped_column(JsonDoc)
    rule: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)
    state: Mapped[BulkState] = mapped_column(word(BulkState), default=BulkState.QUEUED)
    error: Mapped[str | None] = mapped_column(Text)
    created_by: Mapped[str] = mapped_column(String(100))
    last_client_id: Mapped[int] = mapped_column(BigId, default=0)
    until_client_id: Mapped[int | None] = mapped_column(BigId)
    matched_count: Mapped[int | None] = mapped_column(Integer)
    done_count: Mapped[int] = mapped_column(Integer, default=0)
    changed_count: Mapped[int] = mapped_column(Integer, default=0)
    skipped_count: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    idle_runs: Mapped[int] = mapped_column(Integer, default=0)
    prefect_flow_run_id: Mapped[str | None] = mapped_column(exact(36))
    dispatched_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index(None, "state", "id"),)


class RateLimit(Base):
    """How fast may be sent to a provider (`sendgrid`, `sendmode`) or for a flow (`flow-12`), by all workers together.

    `next_request_at` and `next_message_at` are the moments from which the next request, and the next message, fit the
    rate. `held_until` is when the provider wants to be asked again after it said that it is too much (429).
    """

    __tablename__ = table("rate_limits")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(40), unique=True)
    requests_per_second: Mapped[float | None] = mapped_column(Double)
    messages_per_second: Mapped[float | None] = mapped_column(Double)
    next_request_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    next_message_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    held_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    updated_at: Mapped[UpdatedAt]
