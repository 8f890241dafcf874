"""The batch protocol, transition by transition. Only these functions change the state of a message that is sent.

claim_batch -> read_batch -> (render) -> commit_sending -> (one request) -> accept / return / refuse / unknown.

Every function that takes a `ClaimedBatch` is fenced: when its token is no longer the batch's, it raises StaleToken
and the transaction writes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, select, text, update
from sqlalchemy.orm import Session

from db.dialect import share_lock, utc_in, utc_now
from db.errors import StaleToken
from db.models import Batch, Client, ExecutionStep, FailedJob, FlowExecution, Gate, Message, Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.queries.stats import move_sendmode_stats, move_stats
from db.states import (
    BatchState,
    Channel,
    Consent,
    Exclusion,
    ExecutionState,
    Failure,
    MessageState,
)

SUPPRESSION_GATE = "suppressions"


@dataclass(frozen=True)
class ClaimedBatch:
    """A batch and the right to work on it: `token` is the fencing token, the lease is on the database's clock."""

    id: int
    execution_id: int
    step_id: int
    flow_id: int
    channel: Channel
    token: int
    attempts: int
    first_message_id: int
    last_message_id: int


@dataclass(frozen=True)
class Recipient:
    """A pending message and the client it goes to. `exclusion` is set when the client may no longer be written to."""

    message_id: int
    address: str
    client: Mapping[str, Any]
    exclusion: Exclusion | None


def claim_batch(session: Session, execution_id: int, *, lease_seconds: int) -> ClaimedBatch | None:
    """Take the first batch that is due, or None. Nothing is claimed unless the execution is `sending`."""
    execution = session.execute(
        select(FlowExecution.state, FlowExecution.flow_id).where(FlowExecution.id == execution_id)
    ).one_or_none()
    if execution is None or execution.state is not ExecutionState.SENDING:
        return None
    batch = session.execute(
        select(Batch)
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.PENDING,
            or_(Batch.not_before.is_(None), Batch.not_before <= utc_now()),
        )
        .order_by(Batch.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).scalar_one_or_none()
    if batch is None:
        return None
    step = session.get_one(ExecutionStep, batch.step_id)
    session.execute(
        update(Batch)
        .where(Batch.id == batch.id)
        .values(
            state=BatchState.CLAIMED,
            token=Batch.token + 1,
            attempts=Batch.attempts + 1,
            lease_until=utc_in(lease_seconds),
            not_before=None,
        )
        .execution_options(synchronize_session=False)
    )
    return ClaimedBatch(
        id=batch.id,
        execution_id=execution_id,
        step_id=step.id,
        flow_id=execution.flow_id,
        channel=step.channel,
        token=batch.token + 1,
        attempts=batch.attempts + 1,
        first_message_id=batch.first_message_id,
        last_message_id=batch.last_message_id,
    )


_CLIENT_COLUMNS = (
    Client.email,
    Client.phone,
    Client.first_name,
    Client.last_name,
    Client.time_zone,
    Client.locale,
    Client.tags,
    Client.custom_fields,
)


def read_batch(session: Session, batch: ClaimedBatch) -> list[Recipient]:
    """The pending messages of the batch with what rendering needs of their clients, in the order of the ledger."""
    consent = Client.email_consent if batch.channel is Channel.EMAIL else Client.sms_consent
    rows = session.execute(
        select(Message.id, Message.address, Client.id, consent, *_CLIENT_COLUMNS)
        .outerjoin(Client, Client.id == Message.client_id)
        .where(*_in_state(batch, MessageState.PENDING))
        .order_by(Message.id)
    )
    return [_recipient(tuple(row)) for row in rows]


def commit_sending(
    session: Session,
    batch: ClaimedBatch,
    *,
    failed: Mapping[int, str],
    excluded: Mapping[int, Exclusion],
    lease_seconds: int,
    parts: Mapping[int, int] | None = None,
) -> set[int]:
    """The last step before the socket opens. Returns the ids that may be sent; committing it makes them `sending`.

    `failed` are messages that cannot be rendered, `excluded` those whose client may not be written to any more.
    `parts` are the sizes of SMS, kept for their cost. Suppressions are read again here, behind the gate, so that one that was committed is never passed over.
    An empty result leaves the batch done.
    """
    session.execute(
        text(f"SELECT name FROM {Gate.__tablename__} WHERE name = :name{share_lock(session)}"),
        {"name": SUPPRESSION_GATE},
    )
    _fence(session, batch, BatchState.CLAIMED, state=BatchState.SENDING, lease_until=utc_in(lease_seconds))
    if _execution_state(session, batch.execution_id) is not ExecutionState.SENDING:
        _fence(session, batch, BatchState.SENDING, state=BatchState.PENDING, attempts=Batch.attempts - 1)
        return set()
    suppressed = _suppressed_now(session, batch)
    deltas = _Deltas()
    for reason, group in _by_reason({**excluded, **suppressed}).items():
        deltas.move(session, batch, MessageState.PENDING, MessageState.EXCLUDED, ids=group, reason=reason)
    for reason, group in _by_reason(failed).items():
        deltas.move(session, batch, MessageState.PENDING, MessageState.FAILED, ids=group, reason=reason)
    if parts:
        _store_parts(session, batch, parts)
    deltas.move(session, batch, MessageState.PENDING, MessageState.SENDING)
    ids = set(session.scalars(select(Message.id).where(*_in_state(batch, MessageState.SENDING))))
    if not ids:
        _fence(session, batch, BatchState.SENDING, state=BatchState.DONE)
    deltas.apply(session, batch)
    return ids


def accept_batch(session: Session, batch: ClaimedBatch, provider_message_id: str | None) -> None:
    """The provider took the whole request."""
    _fence(session, batch, BatchState.SENDING, state=BatchState.DONE, provider_message_id=provider_message_id)
    deltas = _Deltas()
    deltas.move(session, batch, MessageState.SENDING, MessageState.ACCEPTED)
    deltas.apply(session, batch)


def return_batch(session: Session, batch: ClaimedBatch, *, error: str, delay_seconds: float) -> None:
    """The provider certainly did not take it: everything goes back to pending, due after the delay."""
    _fence(
        session,
        batch,
        BatchState.SENDING,
        state=BatchState.PENDING,
        not_before=utc_in(delay_seconds),
        lease_until=None,
        error=error[:2000],
    )
    deltas = _Deltas()
    _take_back(session, batch, deltas)
    deltas.apply(session, batch)


def refuse_messages(session: Session, batch: ClaimedBatch, refused: Mapping[int, str]) -> None:
    """The provider took nothing because of some recipients: those fail, the rest is due again at once."""
    _fence(session, batch, BatchState.SENDING, state=BatchState.PENDING, attempts=Batch.attempts - 1)
    deltas = _Deltas()
    for reason, group in _by_reason(refused).items():
        deltas.move(session, batch, MessageState.SENDING, MessageState.FAILED, ids=group, reason=reason)
    _take_back(session, batch, deltas)
    deltas.apply(session, batch)


def leave_unknown(session: Session, batch: ClaimedBatch, *, error: str) -> None:
    """Nobody can tell whether the provider took it. Only evidence or a person ends this state."""
    _fence(session, batch, BatchState.SENDING, state=BatchState.UNKNOWN, error=error[:2000])
    deltas = _Deltas()
    deltas.move(session, batch, MessageState.SENDING, MessageState.UNKNOWN)
    deltas.apply(session, batch)


def record_sms(
    session: Session,
    batch: ClaimedBatch,
    *,
    accepted: Mapping[int, str | None],
    failed: Mapping[int, str],
    unknown: Collection[int],
    retry_delay: float,
    error: str | None,
) -> None:
    """Record the outcomes of a batch of single requests; messages in none of the groups go back to pending."""
    deltas = _Deltas()
    _accept_sms(session, batch, accepted, deltas)
    for reason, group in _by_reason(failed).items():
        deltas.move(session, batch, MessageState.SENDING, MessageState.FAILED, ids=group, reason=reason)
    if unknown:
        deltas.move(session, batch, MessageState.SENDING, MessageState.UNKNOWN, ids=unknown)
    returned = _take_back(session, batch, deltas)
    after = BatchState.PENDING if returned else BatchState.UNKNOWN if unknown else BatchState.DONE
    due = utc_in(retry_delay) if returned else None
    _fence(
        session, batch, BatchState.SENDING, state=after, not_before=due, error=error[:2000] if error else None
    )
    deltas.apply(session, batch)


def give_up_batch(session: Session, batch: ClaimedBatch, *, error: str) -> None:
    """A claimed batch used up its attempts: its messages fail, and a failed job is kept for people to see."""
    _fence(session, batch, BatchState.CLAIMED, state=BatchState.FAILED, error=error[:2000])
    deltas = _Deltas()
    deltas.move(session, batch, MessageState.PENDING, MessageState.FAILED, reason=Failure.GAVE_UP)
    session.add(
        FailedJob(
            kind="send_batch",
            execution_id=batch.execution_id,
            subject={"execution_id": batch.execution_id, "batch_id": batch.id},
            error=error[:2000],
        )
    )
    session.flush()
    deltas.apply(session, batch)


def release_expired_claims(session: Session, execution_id: int) -> int:
    """Make batches due again whose holder died before `sending`. Returns their number."""
    return _rowcount(
        session.execute(
            update(Batch)
            .where(
                Batch.execution_id == execution_id,
                Batch.state == BatchState.CLAIMED,
                Batch.lease_until < utc_now(),
            )
            .values(state=BatchState.PENDING, token=Batch.token + 1)
            .execution_options(synchronize_session=False)
        )
    )


def expire_sending(session: Session, execution_id: int) -> int:
    """Batches whose holder died in `sending`: never sent again, their messages become unknown. Returns batches."""
    rows = session.execute(
        select(Batch, ExecutionStep.channel, FlowExecution.flow_id)
        .join(ExecutionStep, ExecutionStep.id == Batch.step_id)
        .join(FlowExecution, FlowExecution.id == Batch.execution_id)
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.SENDING,
            Batch.lease_until < utc_now(),
        )
        .order_by(Batch.id)
    ).all()
    expired = 0
    for batch, channel, flow_id in rows:
        held = ClaimedBatch(
            id=batch.id,
            execution_id=execution_id,
            step_id=batch.step_id,
            flow_id=flow_id,
            channel=channel,
            token=batch.token,
            attempts=batch.attempts,
            first_message_id=batch.first_message_id,
            last_message_id=batch.last_message_id,
        )
        try:
            # The token grows, so that a holder that was only asleep cannot write its outcome over this one.
            _fence(
                session,
                held,
                BatchState.SENDING,
                Batch.lease_until < utc_now(),
                state=BatchState.UNKNOWN,
                token=Batch.token + 1,
                error="the process that sent this batch ended before it recorded the answer",
            )
        except StaleToken:
            continue
        deltas = _Deltas()
        deltas.move(session, held, MessageState.SENDING, MessageState.UNKNOWN)
        deltas.apply(session, held)
        expired += 1
    return expired


def next_due_in(session: Session, execution_id: int) -> float | None:
    """Seconds until a batch of the execution may be claimed or expires; None when none is left to wait for."""
    due = func.coalesce(
        case((Batch.state == BatchState.PENDING, Batch.not_before), else_=Batch.lease_until), utc_now()
    )
    earliest, now = session.execute(
        select(func.min(due), utc_now()).where(
            Batch.execution_id == execution_id,
            Batch.state.in_([BatchState.PENDING, BatchState.CLAIMED, BatchState.SENDING]),
        )
    ).one()
    return None if earliest is None else max((earliest - now).total_seconds(), 0.0)


class _Deltas:
    """Collects how many messages moved between states, to be added to the stats at the end."""

    def __init__(self) -> None:
        self._stats: dict[str, int] = {}
        self._sms: dict[str, int] = {}

    def move(
        self,
        session: Session,
        batch: ClaimedBatch,
        origin: MessageState,
        target: MessageState,
        *conditions: ColumnElement[bool],
        ids: Collection[int] | None = None,
        **values: Any,
    ) -> int:
        """Move the batch's messages (or those of `ids`) from one state to another; returns how many moved."""
        statement = update(Message).where(*_in_state(batch, origin), *conditions)
        if ids is not None:
            statement = statement.where(Message.id.in_(ids))
        statement = statement.values(state=target, **values).execution_options(synchronize_session=False)
        moved = _rowcount(session.execute(statement))
        self.count(origin, target, moved)
        return moved

    def count(self, origin: MessageState, target: MessageState, moved: int) -> None:
        self._stats[origin.value] = self._stats.get(origin.value, 0) - moved
        self._stats[target.value] = self._stats.get(target.value, 0) + moved

    def count_sms(self, sent: int, parts: int) -> None:
        self._sms["sent"] = self._sms.get("sent", 0) + sent
        self._sms["parts"] = self._sms.get("parts", 0) + parts

    def apply(self, session: Session, batch: ClaimedBatch) -> None:
        move_stats(session, batch.execution_id, self._stats)
        move_sendmode_stats(session, batch.execution_id, self._sms)


def _take_back(session: Session, batch: ClaimedBatch, deltas: _Deltas) -> int:
    """Messages that certainly were not taken: pending again, or cancelled with their execution."""
    is_cancelled = _execution_state(session, batch.execution_id) is ExecutionState.CANCELLED
    target = MessageState.CANCELLED if is_cancelled else MessageState.PENDING
    return deltas.move(session, batch, MessageState.SENDING, target)


def _accept_sms(
    session: Session, batch: ClaimedBatch, accepted: Mapping[int, str | None], deltas: _Deltas
) -> None:
    """Move accepted SMS; an early delivery report may have moved some, so only what moves here is counted here."""
    moving = session.execute(
        select(Message.id, Message.parts)
        .where(*_in_state(batch, MessageState.SENDING), Message.id.in_(accepted))
        .with_for_update()
    ).all()
    if not moving:
        return
    ids = [message_id for message_id, _ in moving]
    provider_ids = case({key: accepted[key] for key in ids}, value=Message.id)
    deltas.move(
        session, batch, MessageState.SENDING, MessageState.ACCEPTED, ids=ids, provider_message_id=provider_ids
    )
    deltas.count_sms(len(ids), sum(parts or 0 for _, parts in moving))


def _store_parts(session: Session, batch: ClaimedBatch, parts: Mapping[int, int]) -> None:
    session.execute(
        update(Message)
        .where(*_in_state(batch, MessageState.PENDING), Message.id.in_(parts))
        .values(parts=case(dict(parts), value=Message.id))
        .execution_options(synchronize_session=False)
    )


def _fence(
    session: Session,
    batch: ClaimedBatch,
    state_now: BatchState,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> None:
    """Change the batch if it still is in `state_now` under our token; every change of state passes here."""
    changed = _rowcount(
        session.execute(
            update(Batch)
            .where(Batch.id == batch.id, Batch.token == batch.token, Batch.state == state_now, *conditions)
            .values(**values)
            .execution_options(synchronize_session=False)
        )
    )
    if changed != 1:
        raise StaleToken(batch.id, batch.token)


def _in_state(batch: ClaimedBatch, state: MessageState) -> tuple[ColumnElement[bool], ...]:
    return (
        Message.id.between(batch.first_message_id, batch.last_message_id),
        Message.execution_id == batch.execution_id,
        Message.step_id == batch.step_id,
        Message.state == state,
    )


def _suppressed_now(session: Session, batch: ClaimedBatch) -> dict[int, Exclusion]:
    rows = session.execute(
        select(Message.id, Unsubscribed.scope)
        .join(
            Unsubscribed,
            (Unsubscribed.channel == batch.channel) & (Unsubscribed.address == Message.address),
        )
        .where(
            *_in_state(batch, MessageState.PENDING),
            Unsubscribed.active.is_(True),
            Unsubscribed.scope.in_([EVERYWHERE, batch.flow_id]),
        )
        .order_by(Unsubscribed.scope.desc())
    )
    # The wider scope comes last and so names the reason.
    return {
        message_id: Exclusion.SUPPRESSED if scope == EVERYWHERE else Exclusion.SUPPRESSED_FOR_FLOW
        for message_id, scope in rows
    }


def _recipient(row: tuple[Any, ...]) -> Recipient:
    message_id, address, client_id, consent, *values = row
    exclusion = None
    if client_id is None:
        exclusion = Exclusion.CLIENT_DELETED
    elif consent is Consent.DENIED:
        exclusion = Exclusion.NO_CONSENT
    names = (column.key for column in _CLIENT_COLUMNS)
    return Recipient(message_id, address, dict(zip(names, values, strict=True)), exclusion)


def _execution_state(session: Session, execution_id: int) -> ExecutionState | None:
    return session.scalars(select(FlowExecution.state).where(FlowExecution.id == execution_id)).one_or_none()


def _by_reason(reasons: Mapping[int, str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for message_id, reason in reasons.items():
        groups.setdefault(str(reason)[:200], []).append(message_id)
    return groups


def _rowcount(result: Any) -> int:
    return int(result.rowcount)
