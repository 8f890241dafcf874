"""Flow executions and every change of their state. The ledger decides what is sent; these decide whether to."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from db.dialect import utc_now
from db.errors import Conflict, NotFound
from db.models import (
    Batch,
    ExecutionStep,
    FailedJob,
    Flow,
    FlowExecution,
    Message,
    SendmodeStats,
    Stats,
    TemplateVersion,
)
from db.queries.approvals import insert_approval, list_approvers
from db.queries.flows import list_send_steps
from db.queries.outgoing import tell
from db.queries.pages import Page, page_of
from db.queries.snapshot import insert_snapshot
from db.queries.stats import move_stats
from db.queries.transitions import inside, list_sending_ranges
from db.states import (
    Channel,
    EventType,
    ExecutionState,
    JobKind,
    MessageState,
)

UNFINISHED = (ExecutionState.QUEUED, ExecutionState.PREPARING, ExecutionState.SENDING)
# The dispatcher asks for a run at once, and has all its patience again.
_ANEW: Mapping[str, Any] = {
    "waiting_since": utc_now(),
    "heartbeat_at": None,
    "dispatched_at": None,
    "idle_runs": 0,
}
RESUME_IN_SPITE_OF_GUARD = "resume_in_spite_of_guard"
SEND_LARGE = "send_large"
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_uid() -> str:
    """12 random characters that make message references unique across installations."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))


def insert_execution(
    session: Session,
    flow: Flow,
    *,
    trigger_key: str | None = None,
    scheduled_for: datetime | None = None,
    state: ExecutionState = ExecutionState.QUEUED,
    reason: str | None = None,
    requested_by: str | None = None,
    requested_by_user_id: int | None = None,
) -> FlowExecution:
    """A new execution with its steps frozen: template versions and sender stay as they are now.

    `trigger_key` names the occurrence that caused it; the same one again returns the execution it made.
    """
    if trigger_key is not None:
        there = find_by_trigger(session, flow.id, trigger_key)
        if there is not None:
            return there
    execution = FlowExecution(
        uid=new_uid(),
        flow_id=flow.id,
        state=state,
        reason=reason,
        trigger_key=trigger_key,
        scheduled_for=scheduled_for,
        requested_by=requested_by[:100] if requested_by else None,
        requested_by_user_id=requested_by_user_id,
    )
    try:
        with session.begin_nested():
            session.add(execution)
    except IntegrityError:
        there = find_by_trigger(session, flow.id, trigger_key or "")
        if there is None:
            raise
        return there
    session.add_all(_frozen_steps(session, flow, execution.id))
    session.flush()
    return execution


def get_execution(session: Session, execution_id: int) -> FlowExecution:
    found = session.get(FlowExecution, execution_id)
    if found is None:
        raise NotFound("flow execution", execution_id)
    return found


def get_execution_step(session: Session, step_id: int) -> tuple[ExecutionStep, TemplateVersion]:
    """A frozen step and the template version it sends."""
    step = session.get(ExecutionStep, step_id)
    if step is None:
        raise NotFound("execution step", step_id)
    return step, session.get_one(TemplateVersion, step.template_version_id)


def list_steps(session: Session, execution_id: int) -> Sequence[ExecutionStep]:
    return session.scalars(
        select(ExecutionStep)
        .where(ExecutionStep.execution_id == execution_id)
        .order_by(ExecutionStep.position)
    ).all()


def list_executions(
    session: Session,
    *,
    after: int,
    limit: int,
    flow_id: int | None = None,
    state: ExecutionState | None = None,
) -> Page[FlowExecution]:
    query = select(FlowExecution)
    if flow_id is not None:
        query = query.where(FlowExecution.flow_id == flow_id)
    if state is not None:
        query = query.where(FlowExecution.state == state)
    return page_of(session, query, FlowExecution.id, after=after, limit=limit)


def list_messages(
    session: Session, execution_id: int, *, after: int, limit: int, state: MessageState | None = None
) -> Page[Message]:
    """The ledger of an execution, with the state `sending` for what is in a batch that is being sent."""
    sending = list_sending_ranges(session, execution_id)
    query = select(Message).where(Message.execution_id == execution_id)
    if state is MessageState.SENDING:
        query = query.where(Message.state == MessageState.PENDING, inside(sending))
    elif state is MessageState.PENDING:
        query = query.where(Message.state == MessageState.PENDING, ~inside(sending))
    elif state is not None:
        query = query.where(*with_state(execution_id, state))
    page = page_of(session, query, Message.id, after=after, limit=limit)
    for message in page.items:
        if message.state is MessageState.PENDING and any(a <= message.id <= b for a, b in sending):
            set_committed_value(message, "state", MessageState.SENDING)
    return page


def is_sending(session: Session, execution_id: int) -> bool:
    """Whether batches of the execution may be claimed."""
    state = session.scalars(select(FlowExecution.state).where(FlowExecution.id == execution_id)).one_or_none()
    return state is ExecutionState.SENDING


def has_snapshot(session: Session, execution_id: int) -> bool:
    return session.get(Stats, execution_id) is not None


def count_batches(session: Session, execution_id: int) -> int:
    return session.scalars(
        select(func.count()).select_from(Batch).where(Batch.execution_id == execution_id)
    ).one()


def prepare_execution(
    session: Session, execution_id: int, *, batch_sizes: dict[Channel, int], approve_above: int | None = None
) -> ExecutionState:
    """Write the snapshot and open the execution for sending, in one transaction; returns the state after it.

    With more than `approve_above` messages to send it is paused: a second person has to agree.

    Whoever comes second waits for the row and finds the work done, so that two runs never make two snapshots.
    """
    execution = lock_execution(session, execution_id)
    if execution.state not in (ExecutionState.QUEUED, ExecutionState.PREPARING):
        return execution.state
    for step in list_steps(session, execution_id):
        insert_snapshot(session, execution, step, batch_sizes[step.channel])
    to_send = session.get_one(Stats, execution_id, populate_existing=True).pending
    if approve_above is not None and to_send > approve_above:
        reason = f"{to_send} messages are more than {approve_above}: a second person has to approve"
        set_state(
            session, execution_id, ExecutionState.PAUSED, idle_runs=0, awaits_approval=True, reason=reason
        )
        return ExecutionState.PAUSED
    set_state(session, execution_id, ExecutionState.SENDING, idle_runs=0)
    return ExecutionState.SENDING


def start_execution(session: Session, execution_id: int) -> ExecutionState:
    """Mark a queued execution as being prepared; returns the state after it."""
    lock_execution(session, execution_id)
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id, FlowExecution.state == ExecutionState.QUEUED)
        .values(
            state=ExecutionState.PREPARING,
            started_at=func.coalesce(FlowExecution.started_at, utc_now()),
            heartbeat_at=utc_now(),
        )
        .execution_options(synchronize_session=False)
    )
    return session.scalars(select(FlowExecution.state).where(FlowExecution.id == execution_id)).one()


def heartbeat(session: Session, execution_id: int) -> None:
    """Say that a run is working on the execution."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(heartbeat_at=utc_now())
        .execution_options(synchronize_session=False)
    )


def settle_execution(session: Session, execution_id: int) -> ExecutionState:
    """Close the execution if every message is in a final state; keep it `settling` while some are unknown."""
    execution = lock_execution(session, execution_id)
    if execution.state not in (ExecutionState.SENDING, ExecutionState.SETTLING):
        return execution.state
    counts = session.get_one(Stats, execution_id, populate_existing=True)
    if counts.pending or counts.sending:
        return execution.state
    if counts.unknown:
        reason = f"{counts.unknown} messages have an unknown outcome and wait for evidence"
        set_state(session, execution_id, ExecutionState.SETTLING, reason=reason)
        return ExecutionState.SETTLING
    # The counts say that it is over; the ledger itself has the last word, once.
    if count_open(session, execution_id):
        return execution.state
    set_state(session, execution_id, ExecutionState.COMPLETED)
    tell(session, EventType.EXECUTION_COMPLETED, lambda: [_facts_of(execution, counts)])
    return ExecutionState.COMPLETED


def _facts_of(execution: FlowExecution, counts: Stats) -> dict[str, Any]:
    names = ("intended", "excluded", "accepted", "failed", "cancelled")
    return {
        "execution_id": execution.id,
        "flow_id": execution.flow_id,
        "counts": {name: getattr(counts, name) for name in names},
    }


def count_open(session: Session, execution_id: int) -> dict[MessageState, int]:
    """Messages that are not in a final state, counted in the ledger itself; those being sent count as pending."""
    counts = {
        state: session.scalars(
            select(func.count()).select_from(Message).where(*with_state(execution_id, state))
        ).one()
        for state in (MessageState.PENDING, MessageState.UNKNOWN)
    }
    return {state: count for state, count in counts.items() if count}


def pause_execution(session: Session, execution_id: int, *, reason: str) -> FlowExecution:
    """Stop claiming batches. What is in the socket already is recorded as usual."""
    return _transition(session, execution_id, UNFINISHED, ExecutionState.PAUSED, reason=reason)


def resume_execution(session: Session, execution_id: int, *, by: str | None = None) -> FlowExecution:
    """Let a paused or held execution go on; it is queued for a new Prefect run.

    One that its guard paused is guarded no more: `by` saw the reason, and wants it sent. That is kept as an approval.
    """
    execution = lock_execution(session, execution_id)
    if execution.state not in (ExecutionState.PAUSED, ExecutionState.HELD):
        raise Conflict(f"a {execution.state} execution cannot be resumed; only a paused or held one can")
    if execution.awaits_approval:
        raise Conflict("the execution waits for the approval of a second person (POST …/approve)")
    after = ExecutionState.SENDING if has_snapshot(session, execution_id) else ExecutionState.QUEUED
    values = dict(_ANEW)
    if execution.reason is not None and execution.reason == execution.warning:
        values["is_guarded"] = False
        insert_approval(
            session,
            RESUME_IN_SPITE_OF_GUARD,
            approved_by=by or "unknown",
            execution_id=execution_id,
            details={"reason": execution.reason},
        )
    set_state(session, execution_id, after, **values)
    return _fresh(session, execution_id)


def approve_execution(session: Session, execution_id: int, *, by: str, user_id: int) -> FlowExecution:
    """Agree to an execution that is so large that two people have to; kept as an approval.

    Who sent it himself is one of the two. What a schedule, Prefect or a token of nobody started was sent by nobody who saw it as
    it is: two others have to agree, of whom one may be who set the schedule.

    Raises:
        Conflict: it does not wait for that, or the user has agreed already.
    """
    execution = lock_execution(session, execution_id)
    if not execution.awaits_approval:
        raise Conflict("the execution does not wait for an approval")
    agreed = list_approvers(session, SEND_LARGE, execution_id)
    if execution.requested_by_user_id is not None and execution.scheduled_for is None:
        agreed.add(execution.requested_by_user_id)
    if user_id in agreed:
        raise Conflict(
            "you asked for this execution yourself, or approved it: somebody else has to approve it"
        )
    if execution.state is not ExecutionState.PAUSED:
        raise Conflict(f"the execution is {execution.state}")
    insert_approval(
        session,
        SEND_LARGE,
        approved_by=by,
        execution_id=execution_id,
        details={"user_id": user_id, "reason": execution.reason, "requested_by": execution.requested_by},
    )
    if not agreed:
        reason = f"approved by {by}: nobody sent it himself, so one more person has to approve"
        set_state(session, execution_id, ExecutionState.PAUSED, reason=reason)
        return _fresh(session, execution_id)
    set_state(session, execution_id, ExecutionState.SENDING, awaits_approval=False, **_ANEW)
    return _fresh(session, execution_id)


def cancel_execution(session: Session, execution_id: int) -> FlowExecution:
    """Take back everything that is still pending; what was sent stays sent."""
    execution = lock_execution(session, execution_id)
    if execution.state.is_final:
        raise Conflict(f"the execution is {execution.state} already")
    moved: Any = session.execute(
        update(Message)
        .where(
            Message.execution_id == execution_id,
            Message.state == MessageState.PENDING,
            # No batch can begin to be sent while we hold the execution; what is in the socket is recorded as usual.
            ~inside(list_sending_ranges(session, execution_id)),
        )
        .values(state=MessageState.CANCELLED)
        .execution_options(synchronize_session=False)
    )
    set_state(session, execution_id, ExecutionState.CANCELLED, reason="cancelled by a person")
    move_stats(session, execution_id, {"pending": -moved.rowcount, "cancelled": moved.rowcount})
    return _fresh(session, execution_id)


def pause_with_failed_job(session: Session, execution_id: int, batch_id: int, *, error: str) -> None:
    """The provider refuses our requests as such (key, sender, size): stop before the next batch is refused too."""
    execution = lock_execution(session, execution_id)
    if execution.state is ExecutionState.SENDING:
        set_state(session, execution_id, ExecutionState.PAUSED, reason=error[:2000])
    subject = {"execution_id": execution_id, "batch_id": batch_id}
    session.add(
        FailedJob(
            kind=JobKind.REQUEST_REFUSED, execution_id=execution_id, subject=subject, error=error[:2000]
        )
    )
    session.flush()


def reopen_execution(session: Session, execution_id: int) -> None:
    """Let a locked execution that was over send again; it needs a new Prefect run."""
    set_state(session, execution_id, ExecutionState.SENDING, finished_at=None, **_ANEW)


def requeue_execution(session: Session, execution_id: int) -> None:
    """Let a locked execution that failed before its snapshot begin again; it needs a new Prefect run."""
    set_state(session, execution_id, ExecutionState.QUEUED, finished_at=None, **_ANEW)


def give_up_execution(session: Session, execution_id: int, *, most_runs: int) -> bool:
    """Ask for no more runs of an execution that `most_runs` of them brought no further; False when one did after all.

    Before its snapshot nobody is promised anything: it has failed. After it, it is paused, since people are waiting
    for their messages. A failed job is kept in both cases.
    """
    execution = session.scalars(
        # Who holds the row is just making the snapshot, or changing the state: that is progress.
        select(FlowExecution).where(FlowExecution.id == execution_id).with_for_update(skip_locked=True)
    ).one_or_none()
    if execution is None or execution.state not in UNFINISHED or execution.idle_runs < most_runs:
        return False
    is_prepared = has_snapshot(session, execution_id)
    what = "sent a batch" if is_prepared else "made the snapshot of the audience"
    error = f"{execution.idle_runs} runs in a row ended before they {what}; Prefect shows why"
    after = ExecutionState.PAUSED if is_prepared else ExecutionState.FAILED
    subject = {"execution_id": execution_id, "flow_run_id": execution.prefect_flow_run_id}
    set_state(session, execution_id, after, reason=error)
    session.add(FailedJob(kind=JobKind.EXECUTION, execution_id=execution_id, subject=subject, error=error))
    session.flush()
    return True


def list_settling(session: Session, *, among: Iterable[int]) -> Sequence[int]:
    """Those of the executions that only wait for evidence."""
    return session.scalars(
        select(FlowExecution.id)
        .where(FlowExecution.id.in_(list(among)), FlowExecution.state == ExecutionState.SETTLING)
        .order_by(FlowExecution.id)
    ).all()


def get_summary(
    session: Session, execution_id: int
) -> tuple[FlowExecution, Flow, Stats | None, SendmodeStats | None]:
    """An execution, its flow and its counts in one read; the counts are None before the snapshot."""
    row = session.execute(
        select(FlowExecution, Flow, Stats, SendmodeStats)
        .join(Flow, Flow.id == FlowExecution.flow_id)
        .outerjoin(Stats, Stats.execution_id == FlowExecution.id)
        .outerjoin(SendmodeStats, SendmodeStats.execution_id == FlowExecution.id)
        .where(FlowExecution.id == execution_id)
    ).one_or_none()
    if row is None:
        raise NotFound("flow execution", execution_id)
    return row[0], row[1], row[2], row[3]


def with_state(execution_id: int, state: MessageState) -> tuple[ColumnElement[bool], ...]:
    """Messages of an execution by their stored state, found by an index where they are few."""
    is_usual = state in (MessageState.PENDING, MessageState.ACCEPTED)
    special = Message.special_state.is_(None) if is_usual else Message.special_state == state.value
    return (Message.execution_id == execution_id, special, Message.state == state)


def _frozen_steps(session: Session, flow: Flow, execution_id: int) -> list[ExecutionStep]:
    rows = list_send_steps(session, flow.id)
    if not rows or flow.client_list_id is None:
        raise Conflict(f"flow {flow.id} has no send step with a template, or no client list")
    return [
        ExecutionStep(
            execution_id=execution_id,
            position=step.position,
            channel=template.channel,
            template_version_id=version.id,
            client_list_id=flow.client_list_id,
            sender=flow.sender,
            requires_consent=flow.requires_consent,
        )
        for step, template, version in rows
    ]


def find_by_trigger(session: Session, flow_id: int, trigger_key: str) -> FlowExecution | None:
    return session.scalars(
        select(FlowExecution).where(
            FlowExecution.flow_id == flow_id, FlowExecution.trigger_key == trigger_key
        )
    ).one_or_none()


def lock_execution(session: Session, execution_id: int) -> FlowExecution:
    """The execution as it is now; its state stays so until the transaction ends."""
    found = session.scalars(
        select(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if found is None:
        raise NotFound("flow execution", execution_id)
    return found


def _fresh(session: Session, execution_id: int) -> FlowExecution:
    return session.scalars(
        select(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .execution_options(populate_existing=True)
    ).one()


def _transition(
    session: Session,
    execution_id: int,
    allowed: tuple[ExecutionState, ...],
    target: ExecutionState,
    **values: Any,
) -> FlowExecution:
    execution = lock_execution(session, execution_id)
    if execution.state not in allowed:
        words = ", ".join(allowed)
        raise Conflict(f"the execution is {execution.state}; it can become {target} only from: {words}")
    set_state(session, execution_id, target, **values)
    return _fresh(session, execution_id)


def set_state(session: Session, execution_id: int, state: ExecutionState, **values: Any) -> None:
    """Change the state of a locked execution, and `values` with it; a reason that is not given is forgotten."""
    if state.is_final:
        values["finished_at"] = utc_now()
    values.setdefault("reason", None)
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(state=state, **values)
        .execution_options(synchronize_session=False)
    )
