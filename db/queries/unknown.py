"""Messages whose outcome nobody knows: how many and how old, and the two decisions about them that a person may take.

Evidence ends this state by itself (`db/queries/feedback.py`). What has none when the evidence window is over may be sent
again or written off. The window counts from the last change of the batch: no message of it became unknown later.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import exists, func, literal, null, select, union_all, update
from sqlalchemy.orm import Session

from db.dialect import utc_now
from db.errors import Conflict
from db.models import Batch, Event, ExecutionStep, FailedJob, FlowExecution, Message
from db.queries.approvals import insert_approval
from db.queries.executions import lock_execution, reopen_execution, settle_execution, with_state
from db.queries.pages import Page, page_of
from db.queries.stats import move_stats
from db.queries.transitions import hold, inside, rowcount
from db.states import BatchState, ExecutionState, Failure, JobKind, JobState, MessageState

T = TypeVar("T")
_RESENDABLE = (ExecutionState.SENDING, ExecutionState.SETTLING, ExecutionState.PAUSED)
# What a person writes off is nothing that is sent, so it may belong to a cancelled execution too.
_CLOSABLE = (*_RESENDABLE, ExecutionState.CANCELLED)
_AT_A_TIME = 200
"""Batches a statement: SQLite takes no expression that is nested more than 1,000 deep."""


@dataclass(frozen=True)
class Decision:
    """Who decides about unknown messages, and whether about those too whose evidence window is not over."""

    approved_by: str
    token_id: int
    before_evidence_window: bool = False


@dataclass(frozen=True)
class Decided:
    """What came of a decision: it moved `messages`, and `left` are still unknown."""

    messages: int
    left: int
    approval_id: int


@dataclass(frozen=True)
class UnknownBatch:
    """A batch with unknown messages; `since` is when they became that, on the database's clock."""

    id: int
    first_message_id: int
    last_message_id: int
    state: BatchState
    since: datetime
    messages: int


@dataclass(frozen=True)
class UnknownCounts:
    """The unknown messages of an execution. `overdue` of them are older than the evidence window, which ends for the
    youngest at `evidence_until`. The last three are None when there are none."""

    messages: int
    batches: int
    overdue: int
    oldest_since: datetime | None
    oldest_seconds: float | None
    evidence_until: datetime | None


@dataclass(frozen=True)
class UnknownMessage:
    """One unknown message, with what is known of its batch; `step` is the step's position."""

    id: int
    client_id: int
    address: str | None
    step: int
    batch_id: int
    since: datetime
    error: str | None


def list_unknown_batches(session: Session, execution_id: int) -> list[UnknownBatch]:
    """The batches of an execution that hold unknown messages, in the order of the ledger.

    One pass over the beginnings of the batches and the unknown messages, sorted together: each message belongs to the last
    batch that began before it. A join by ranges would read all unknown messages for each batch (measured on MariaDB: 0.3 s
    for 200,000 messages in 3,000 batches; a join, or a running maximum in place of the count, did not end in 20 s).
    """
    begins = select(
        Batch.first_message_id.label("at"),
        Batch.first_message_id.label("begin"),
        literal(0).label("messages"),
    ).where(Batch.execution_id == execution_id)
    unknown = select(Message.id, null(), literal(1)).where(*with_state(execution_id, MessageState.UNKNOWN))
    marks = union_all(begins, unknown).subquery("marks")
    number = func.count(marks.c.begin).over(order_by=(marks.c.at, marks.c.messages), rows=(None, 0))
    placed = select(number.label("number"), marks.c.begin, marks.c.messages).subquery("placed")
    counted = (
        select(func.max(placed.c.begin).label("begin"), func.sum(placed.c.messages).label("messages"))
        .group_by(placed.c.number)
        .having(func.sum(placed.c.messages) > 0)
        .subquery("counted")
    )
    rows = session.execute(
        select(
            Batch.id,
            Batch.first_message_id,
            Batch.last_message_id,
            Batch.state,
            Batch.updated_at,
            counted.c.messages,
        )
        .join(counted, Batch.first_message_id == counted.c.begin)
        .where(Batch.execution_id == execution_id)
        .order_by(Batch.first_message_id)
    )
    return [
        UnknownBatch(batch_id, first, last, state, since, int(messages))
        for batch_id, first, last, state, since, messages in rows
    ]


def count_unknown(session: Session, execution_id: int, *, window: timedelta) -> UnknownCounts:
    """How many there are, how old, and until when evidence about them may come."""
    batches = list_unknown_batches(session, execution_id)
    if not batches:
        return UnknownCounts(0, 0, 0, None, None, None)
    now = _now(session)
    oldest = min(batch.since for batch in batches)
    return UnknownCounts(
        messages=_sum(batches),
        batches=len(batches),
        overdue=_sum(batch for batch in batches if batch.since + window <= now),
        oldest_since=oldest,
        oldest_seconds=max((now - oldest).total_seconds(), 0.0),
        evidence_until=max(batch.since for batch in batches) + window,
    )


def find_oldest_unknown(session: Session, execution_id: int) -> float | None:
    """The age of the oldest unknown message in seconds."""
    return count_unknown(session, execution_id, window=timedelta(0)).oldest_seconds


def list_unknown(session: Session, execution_id: int, *, after: int, limit: int) -> Page[UnknownMessage]:
    """The unknown messages of an execution by id, each with its batch."""
    query = select(Message).where(*with_state(execution_id, MessageState.UNKNOWN))
    page = page_of(session, query, Message.id, after=after, limit=limit)
    if not page.items:
        return Page([], None)
    batches = _overlapping(session, execution_id, page.items[0].id, page.items[-1].id)
    begins = [batch.first_message_id for batch in batches]
    steps = dict(
        session.execute(
            select(ExecutionStep.id, ExecutionStep.position).where(ExecutionStep.execution_id == execution_id)
        )
        .tuples()
        .all()
    )
    items = []
    for message in page.items:
        batch = batches[bisect_right(begins, message.id) - 1]
        items.append(
            UnknownMessage(
                id=message.id,
                client_id=message.client_id,
                address=message.address,
                step=steps[message.step_id],
                batch_id=batch.id,
                since=batch.updated_at,
                error=batch.error,
            )
        )
    return Page(items, page.next_cursor)


def resend_unknown(session: Session, execution_id: int, decision: Decision, *, window: timedelta) -> Decided:
    """Unknown -> pending, because a person says so: some of the messages may arrive twice. Kept in `approvals`.

    Raises:
        NotFound: there is no such execution.
        Conflict: it sends nothing any more, nothing is unknown, or evidence may still come.
    """
    execution = lock_execution(session, execution_id)
    if execution.state not in _RESENDABLE:
        raise Conflict(f"messages of a {execution.state} execution cannot be sent again")
    batches, known = _hold_decidable(session, execution_id, decision, window)
    for some in _chunks(batches):
        _make_due(session, some)
    moved = _move(session, execution_id, batches, MessageState.PENDING)
    if execution.state is ExecutionState.SETTLING:
        reopen_execution(session, execution_id)
    return _keep(session, execution, "resend_unknown", decision, moved, known - moved)


def close_unknown(session: Session, execution_id: int, decision: Decision, *, window: timedelta) -> Decided:
    """Unknown -> failed (`unresolved`), because a person says so; the execution ends if nothing else is open.

    Raises:
        NotFound: there is no such execution.
        Conflict: nothing of it is unknown, or evidence may still come.
    """
    execution = lock_execution(session, execution_id)
    if execution.state not in _CLOSABLE:
        raise Conflict(f"a {execution.state} execution has no unknown messages")
    batches, known = _decidable(session, execution_id, decision, window)
    moved = _move(session, execution_id, batches, MessageState.FAILED, reason=Failure.UNRESOLVED)
    decided = _keep(session, execution, "close_unknown", decision, moved, known - moved)
    settle_execution(session, execution_id)
    return decided


def _decidable(
    session: Session, execution_id: int, decision: Decision, window: timedelta
) -> tuple[list[UnknownBatch], int]:
    """The batches whose unknown messages a person may decide about now, and the number of all unknown messages."""
    batches = list_unknown_batches(session, execution_id)
    if not batches:
        raise Conflict("no message of the execution has an unknown outcome")
    # Messages of a batch that is being sent again for its other messages have to wait until it is recorded.
    idle = [batch for batch in batches if batch.state is not BatchState.SENDING]
    if not idle:
        raise Conflict(
            "the unknown messages are in batches that are being sent just now; try again in a moment"
        )
    if decision.before_evidence_window:
        return idle, _sum(batches)
    now = _now(session)
    over = [batch for batch in idle if batch.since + window <= now]
    if not over:
        until = max(batch.since for batch in idle) + window
        raise Conflict(
            f"evidence about {_sum(idle)} messages may still come until {until:%Y-%m-%d %H:%M:%S} UTC; "
            'send {"before_evidence_window": true} to decide now',
            field="before_evidence_window",
        )
    return over, _sum(batches)


def _hold_decidable(
    session: Session, execution_id: int, decision: Decision, window: timedelta
) -> tuple[list[UnknownBatch], int]:
    """As `_decidable`, and nobody can claim, cut or end these batches until the end of the transaction."""
    held: set[int] = set()
    while True:
        batches, known = _decidable(session, execution_id, decision, window)
        missing = [batch for batch in batches if batch.id not in held]
        if not missing:
            return batches, known
        for some in _chunks(missing):
            held |= hold(session, [batch.id for batch in some]).keys()


def _make_due(session: Session, batches: Sequence[UnknownBatch]) -> None:
    """Batches that are over are due again; those that are due already take the messages along.

    Who has claimed one read it before these messages were open again. His token is stale from now on: a message may only
    leave the open ones of a claimed batch, never join them, or `commit_sending` could not tell by their number who they are.
    """
    session.execute(
        update(Batch)
        .where(
            Batch.id.in_([batch.id for batch in batches]),
            Batch.state.in_([BatchState.UNKNOWN, BatchState.DONE, BatchState.FAILED, BatchState.CLAIMED]),
        )
        .values(state=BatchState.PENDING, attempts=0, not_before=None, token=Batch.token + 1)
        .execution_options(synchronize_session=False)
    )


def _move(
    session: Session, execution_id: int, batches: Sequence[UnknownBatch], target: MessageState, **values: Any
) -> int:
    """Move the unknown messages of the batches, which cannot begin to be sent while we hold the execution.

    Those about which there is an event were accepted, and only wait for the scheduled closing to see it.
    """
    moved = 0
    for some in _chunks(batches):
        ranges = [(batch.first_message_id, batch.last_message_id) for batch in some]
        statement = (
            update(Message)
            .where(
                *with_state(execution_id, MessageState.UNKNOWN),
                inside(ranges),
                ~exists().where(Event.message_id == Message.id),
            )
            .values(state=target, **values)
            .execution_options(synchronize_session=False)
        )
        moved += rowcount(session.execute(statement))
    move_stats(session, execution_id, {MessageState.UNKNOWN.value: -moved, target.value: moved})
    return moved


def _keep(
    session: Session, execution: FlowExecution, action: str, decision: Decision, messages: int, left: int
) -> Decided:
    """Who decided what and when; the failed job that asked for it is dealt with."""
    details = {
        "messages": messages,
        "left": left,
        "token_id": decision.token_id,
        "before_evidence_window": decision.before_evidence_window,
    }
    approval = insert_approval(
        session, action, approved_by=decision.approved_by, execution_id=execution.id, details=details
    )
    session.execute(
        update(FailedJob)
        .where(
            FailedJob.execution_id == execution.id,
            FailedJob.kind == JobKind.UNKNOWN_OUTCOME,
            FailedJob.state == JobState.OPEN,
        )
        .values(state=JobState.RETRIED, retried_at=utc_now(), retried_by=decision.approved_by[:100])
        .execution_options(synchronize_session=False)
    )
    return Decided(messages, left, approval.id)


def _overlapping(session: Session, execution_id: int, first: int, last: int) -> Sequence[Batch]:
    """The batches of the messages `first` to `last`, from the one that began last before `first`."""
    begin = (
        select(func.max(Batch.first_message_id))
        .where(Batch.execution_id == execution_id, Batch.first_message_id <= first)
        .scalar_subquery()
    )
    return session.scalars(
        select(Batch)
        .where(Batch.execution_id == execution_id, Batch.first_message_id.between(begin, last))
        .order_by(Batch.first_message_id)
    ).all()


def _now(session: Session) -> datetime:
    now: datetime = session.scalars(select(utc_now())).one()
    return now


def _sum(batches: Collection[UnknownBatch] | Iterator[UnknownBatch]) -> int:
    return sum(batch.messages for batch in batches)


def _chunks(batches: Sequence[T]) -> Iterator[Sequence[T]]:
    return (batches[start : start + _AT_A_TIME] for start in range(0, len(batches), _AT_A_TIME))
