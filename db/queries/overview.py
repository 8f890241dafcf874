"""What the operator looks at: how much waits, for how long, and what nobody works on. Counts, ages in seconds, and ids.

Read by every scrape of `/metrics`, so each question is one look into an index, and what could grow without limit is counted up to
`MOST_COUNTED`. Ages are by the database's clock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, func, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.dialect import joined_as_written, seconds_between, utc_in, utc_now
from db.models import (
    Batch,
    BulkOperation,
    ExecutionStep,
    FailedJob,
    FlowExecution,
    MemberImport,
    SendmodeStats,
    Stats,
    WebhookDelivery,
    WebhookEvent,
)
from db.queries.executions import UNFINISHED
from db.queries.stats import columns_of
from db.queries.unknown import find_oldest_unknown as oldest_of_execution
from db.states import (
    BatchState,
    BulkState,
    Channel,
    ExecutionState,
    ImportState,
    InboxState,
    JobState,
    MessageState,
    WebhookEventState,
)

MOST_COUNTED = 100_000
MOST_LISTED = 100
_LATELY_SECONDS = 60
_MOST_LATELY = 10_000
_MOST_WITH_UNKNOWN = 20
_LEFT = (*UNFINISHED, ExecutionState.PAUSED, ExecutionState.SETTLING, ExecutionState.CANCELLED)
_WORK_STATES = {
    MemberImport: (ImportState.QUEUED, ImportState.RUNNING, ImportState.UNDOING),
    BulkOperation: (BulkState.QUEUED, BulkState.RUNNING),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and how long the oldest of them does; None when nothing waits."""

    count: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class AppliedLately:
    """Webhooks applied within the last minute, and their seconds from received to applied."""

    count: int
    mean_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """An execution that is due, and that no worker has shown a sign of life for in so many seconds."""

    execution_id: int
    state: ExecutionState
    seconds: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The installation at one moment. Counts by name have every name, with 0."""

    executions: Mapping[str, int]
    queued: Waiting
    unclaimed: Sequence[Unclaimed]
    expired_batches: int
    unknown: Waiting
    inbox: Mapping[str, Waiting]
    applied_lately: AppliedLately
    webhook_events: Mapping[str, int]
    failed_jobs: Mapping[str, int]
    imports: Mapping[str, Waiting]
    bulk_operations: Mapping[str, Waiting]
    messages: Mapping[str, Mapping[str, int]]
    sms: Mapping[str, int]


def read_overview(session: Session, *, unclaimed_seconds: int) -> Overview:
    """Everything at once. `messages` are the sums of `stats` by channel."""
    messages = sum_stats(session)
    unknown = sum(counts[MessageState.UNKNOWN.value] for counts in messages.values())
    return Overview(
        executions=count_executions(session),
        queued=find_queue_age(session),
        unclaimed=list_unclaimed(session, seconds=unclaimed_seconds),
        expired_batches=count_expired_batches(session),
        unknown=Waiting(unknown, find_oldest_unknown(session) if unknown else None),
        inbox={
            state.value: count_inbox(session, state) for state in (InboxState.RECEIVED, InboxState.FAILED)
        },
        applied_lately=measure_applied(session),
        webhook_events=count_open(session, WebhookEvent.problem, WebhookEvent.state, WebhookEventState.OPEN),
        failed_jobs=count_open(session, FailedJob.kind, FailedJob.state, JobState.OPEN),
        imports=count_work(session, MemberImport),
        bulk_operations=count_work(session, BulkOperation),
        messages=messages,
        sms=sum_sms(session),
    )


def count_executions(session: Session) -> dict[str, int]:
    """Executions by state."""
    rows = session.execute(
        select(FlowExecution.state, func.count()).group_by(FlowExecution.state).order_by(FlowExecution.state)
    )
    found = {state.value: count for state, count in rows}
    return dict.fromkeys((state.value for state in ExecutionState), 0) | found


def find_queue_age(session: Session) -> Waiting:
    """Executions that are queued, and since when the longest waiting one is."""
    age = seconds_between(func.min(_since()), utc_now())
    count, oldest = session.execute(
        select(func.count(), age).where(FlowExecution.state == ExecutionState.QUEUED)
    ).one()
    return Waiting(count, _age(oldest))


def list_unclaimed(session: Session, *, seconds: int, limit: int = MOST_LISTED) -> list[Unclaimed]:
    """Executions that are due and that nobody works on: no worker showed a sign of life within so many seconds.

    The longest waiting first. Paused, held and settling ones wait for people or evidence and are none of them.
    """
    rows = session.execute(
        select(FlowExecution.id, FlowExecution.state, seconds_between(_last_sign(), utc_now()))
        .where(FlowExecution.state.in_(UNFINISHED), _last_sign() < utc_in(-seconds))
        .order_by(_last_sign(), FlowExecution.id)
        .limit(limit)
    )
    return [Unclaimed(key, state, _age(age) or 0.0) for key, state, age in rows]


def count_expired_batches(session: Session) -> int:
    """Batches in `sending` whose lease ran out: their holder died, and `close_unknown` has not looked yet."""
    return session.scalars(
        select(func.count())
        .select_from(FlowExecution)
        .join(Batch, Batch.execution_id == FlowExecution.id)
        .where(
            FlowExecution.state.in_(_LEFT),
            Batch.state == BatchState.SENDING,
            Batch.lease_until < utc_now(),
        )
    ).one()


def find_oldest_unknown(session: Session) -> float | None:
    """The age of the oldest unknown message, in seconds, over the first 20 executions that have any."""
    with_unknown = session.scalars(
        select(FlowExecution.id)
        .join(Stats, Stats.execution_id == FlowExecution.id)
        .where(FlowExecution.state.in_(_LEFT), Stats.unknown > 0)
        .order_by(FlowExecution.id)
        .limit(_MOST_WITH_UNKNOWN)
    ).all()
    ages = [oldest_of_execution(session, execution_id) for execution_id in with_unknown]
    return max((age for age in ages if age is not None), default=None)


def count_inbox(session: Session, state: InboxState) -> Waiting:
    """Webhooks of the inbox in a state that is not `applied`; the oldest is the one with the lowest id."""
    of_state = WebhookDelivery.state == state
    oldest = session.scalars(
        select(seconds_between(WebhookDelivery.received_at, utc_now()))
        .where(of_state)
        .order_by(WebhookDelivery.id)
        .limit(1)
    ).first()
    return Waiting(_count(session, select(WebhookDelivery.id).where(of_state)), _age(oldest))


def measure_applied(session: Session) -> AppliedLately:
    """The webhooks of the last minute, up to 10,000 of them: how long each waited."""
    latest = (
        select(seconds_between(WebhookDelivery.received_at, WebhookDelivery.applied_at).label("seconds"))
        .where(WebhookDelivery.applied_at > utc_in(-_LATELY_SECONDS))
        .order_by(WebhookDelivery.applied_at.desc())
        .limit(_MOST_LATELY)
        .subquery("latest")
    )
    count, mean, longest = session.execute(
        select(func.count(), func.avg(latest.c.seconds), func.max(latest.c.seconds))
    ).one()
    return AppliedLately(count, _age(mean) or 0.0, _age(longest) or 0.0)


def count_open(
    session: Session,
    name: InstrumentedAttribute[Any],
    state: InstrumentedAttribute[Any],
    is_open: StrEnum,
) -> dict[str, int]:
    """Rows in the state, counted by another column."""
    found = select(name.label("name")).where(state == is_open).limit(MOST_COUNTED).subquery("found")
    rows = session.execute(select(found.c.name, func.count()).group_by(found.c.name).order_by(found.c.name))
    return {str(value): count for value, count in rows}


def count_work(session: Session, model: type[MemberImport | BulkOperation]) -> dict[str, Waiting]:
    """Imports or bulk operations that wait or run, by state."""
    states = _WORK_STATES[model]
    rows = session.execute(
        select(model.state, func.count(), seconds_between(func.min(model.created_at), utc_now()))
        .where(model.state.in_(states))
        .group_by(model.state)
    )
    found = {state.value: Waiting(count, _age(oldest)) for state, count, oldest in rows}
    return dict.fromkeys((state.value for state in states), Waiting(0, None)) | found


def sum_stats(session: Session) -> dict[str, dict[str, int]]:
    """The columns of `stats` by channel, added up over all executions. A campaign has one step, and so one channel.

    Everything, and SMS apart: half the time of one pass that groups all rows by their channel. What is sent between the two
    statements may be missing from email for a moment.
    """
    names = columns_of(Stats)
    total = session.execute(select(*_sums(Stats, names))).one()
    of_sms = (
        select(*_sums(Stats, names))
        .select_from(ExecutionStep)
        .join(Stats, Stats.execution_id == ExecutionStep.execution_id)
        .where(ExecutionStep.position == 1, ExecutionStep.channel == Channel.SMS)
    )
    # The steps first: the servers would look up the step of every execution.
    sms = _named(names, session.execute(joined_as_written(of_sms)).one())
    email = {name: max(number - sms[name], 0) for name, number in _named(names, total).items()}
    return {Channel.EMAIL.value: email, Channel.SMS.value: sms}


def sum_sms(session: Session) -> dict[str, int]:
    """The columns of `sendmode_stats`, added up over all executions."""
    names = columns_of(SendmodeStats)
    sums = session.execute(select(*_sums(SendmodeStats, names))).one()
    return _named(names, sums)


def _since() -> ColumnElement[datetime]:
    """When an execution became due."""
    return func.coalesce(FlowExecution.waiting_since, FlowExecution.created_at)


def _last_sign() -> ColumnElement[datetime]:
    return func.coalesce(FlowExecution.heartbeat_at, _since())


def _count(session: Session, rows: Select[Any]) -> int:
    """How many rows, up to `MOST_COUNTED`."""
    found = rows.limit(MOST_COUNTED).subquery("found")
    return session.scalars(select(func.count()).select_from(found)).one()


def _sums(model: type[Stats | SendmodeStats], names: Sequence[str]) -> list[ColumnElement[float]]:
    """As floats, exact below 2**53: the servers add integers up as decimals, which takes three times as long."""
    return [func.sum(getattr(model, name) * literal_column("1e0", Double())) for name in names]


def _named(names: Sequence[str], sums: Sequence[Any]) -> dict[str, int]:
    return {name: int(value or 0) for name, value in zip(names, sums, strict=True)}


def _age(seconds: Any) -> float | None:
    return None if seconds is None else max(float(seconds), 0.0)
