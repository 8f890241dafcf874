"""The batch protocol, transition by transition. Only these functions change the state of a message that is sent.

claim_batch -> read_batch -> (render) -> commit_sending -> (one request) -> accept / return / refuse / unknown.

Every function that takes a `ClaimedBatch` is fenced: when its token is no longer the batch's, it raises StaleToken
and the transaction writes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, case, func, or_, select, text, type_coerce, update
from sqlalchemy.orm import Session

from db.dialect import as_json, share_lock, utc_in, utc_now
from db.models import Batch, Client, ExecutionStep, FailedJob, FlowExecution, Gate, Message, Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.queries.transitions import ClaimedBatch, Deltas, count_open_messages, fence, open_messages
from db.states import (
    BatchState,
    Channel,
    Consent,
    Exclusion,
    ExecutionState,
    Failure,
    JobKind,
    MessageState,
)

SUPPRESSION_GATE = "suppressions"


@dataclass(frozen=True)
class Recipient:
    """A pending message and the client it goes to. `exclusion` is set when the client may no longer be written to."""

    message_id: int
    address: str
    client: Mapping[str, Any]
    exclusion: Exclusion | None


def claim_batch(session: Session, execution_id: int, *, lease_seconds: int) -> ClaimedBatch | None:
    """Take the first batch that is due, or None. Nothing is claimed unless the execution is `sending`."""
    steps = session.execute(
        select(
            FlowExecution.state,
            FlowExecution.flow_id,
            FlowExecution.idle_runs,
            ExecutionStep.id,
            ExecutionStep.channel,
        )
        .join(ExecutionStep, ExecutionStep.execution_id == FlowExecution.id)
        .where(FlowExecution.id == execution_id)
    ).all()
    if not steps or steps[0].state is not ExecutionState.SENDING:
        return None
    batch = session.execute(
        select(
            Batch.id,
            Batch.step_id,
            Batch.token,
            Batch.attempts,
            Batch.first_message_id,
            Batch.last_message_id,
        )
        .where(
            Batch.execution_id == execution_id,
            Batch.state == BatchState.PENDING,
            or_(Batch.not_before.is_(None), Batch.not_before <= utc_now()),
        )
        .order_by(Batch.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if batch is None:
        return None
    if steps[0].idle_runs:
        _note_progress(session, execution_id)
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
        step_id=batch.step_id,
        flow_id=steps[0].flow_id,
        channel=next(step.channel for step in steps if step.id == batch.step_id),
        token=batch.token + 1,
        attempts=batch.attempts + 1,
        first_message_id=batch.first_message_id,
        last_message_id=batch.last_message_id,
    )


CLIENT_FIELDS: Mapping[str, ColumnElement[Any]] = {
    "email": Client.email.expression,
    "phone": Client.phone.expression,
    "first_name": Client.first_name.expression,
    "last_name": Client.last_name.expression,
    "time_zone": Client.time_zone.expression,
    "locale": Client.locale.expression,
    "tags": as_json(Client.tags),
    "custom_fields": as_json(Client.custom_fields),
}
"""What rendering may read of a client, as members of a JSON array."""


def read_batch(
    session: Session, batch: ClaimedBatch, fields: Collection[str] = frozenset(CLIENT_FIELDS)
) -> list[Recipient]:
    """The pending messages of the batch with those `fields` of their clients, in the order of the ledger.

    Each row travels as one JSON text: the driver decodes columns in Python, one by one, which took a fifth of all
    the time of sending; a text is decoded at once.
    """
    consent = Client.email_consent if batch.channel is Channel.EMAIL else Client.sms_consent
    names = [name for name in CLIENT_FIELDS if name in fields]
    row = func.json_array(
        Message.id, Message.address, Client.id, consent, *(CLIENT_FIELDS[name] for name in names)
    )
    texts = session.scalars(
        # Raw text: the driver's own reading of JSON columns is not wanted here.
        select(type_coerce(row, Text))
        .select_from(Message)
        .outerjoin(Client, Client.id == Message.client_id)
        .where(*open_messages(batch))
        .order_by(Message.id)
    )
    return [_recipient(orjson.loads(text), names) for text in texts]


def commit_sending(
    session: Session,
    batch: ClaimedBatch,
    *,
    ready: Collection[int],
    failed: Mapping[int, str],
    excluded: Mapping[int, Exclusion],
    lease_seconds: int,
    parts: Mapping[int, int] | None = None,
) -> set[int]:
    """The last step before the socket opens. Returns the ids that may be sent; committing it makes them `sending`.

    `ready` are the rendered messages, `failed` those that cannot be rendered, `excluded` those whose client may not
    be written to any more. `parts` are the sizes of SMS, kept for their cost. Suppressions are read again here,
    behind the gate, so that one that was committed is never passed over. The execution is held until the commit, so
    that it is paused or cancelled either before this batch or after it.

    An empty result means that there is nothing to send: the batch is done, or was given back.
    """
    session.execute(
        text(f"SELECT name FROM {Gate.__tablename__} WHERE name = :name{share_lock(session)}"),
        {"name": SUPPRESSION_GATE},
    )
    state = _hold_execution(session, batch.execution_id)
    fence(session, batch, BatchState.CLAIMED, state=BatchState.SENDING, lease_until=utc_in(lease_seconds))
    if state is not ExecutionState.SENDING:
        _give_back(session, batch)
        return set()
    suppressed = _suppressed_now(session, batch)
    deltas = Deltas(session, batch)
    for reason, group in _by_reason({**excluded, **suppressed}).items():
        deltas.move(MessageState.PENDING, MessageState.EXCLUDED, ids=group, reason=reason)
    for reason, group in _by_reason(failed).items():
        deltas.move(MessageState.PENDING, MessageState.FAILED, ids=group, reason=reason)
    if parts:
        _store_parts(session, batch, parts)
    ids = set(ready) - suppressed.keys()
    if count_open_messages(session, batch) != len(ids):
        # Evidence came in since they were read, or a person had some sent again.
        still_open = set(session.scalars(select(Message.id).where(*open_messages(batch))))
        if still_open - ids:
            deltas.apply()
            _give_back(session, batch)
            return set()
        ids = still_open
    deltas.count(MessageState.PENDING, MessageState.SENDING, len(ids))
    if not ids:
        fence(session, batch, BatchState.SENDING, state=BatchState.DONE)
    deltas.apply()
    return ids


def accept_batch(session: Session, batch: ClaimedBatch, provider_message_id: str | None) -> None:
    """The provider took the whole request."""
    fence(session, batch, BatchState.SENDING, state=BatchState.DONE, provider_message_id=provider_message_id)
    deltas = Deltas(session, batch)
    deltas.move(MessageState.SENDING, MessageState.ACCEPTED)
    deltas.apply()


def give_back_claim(session: Session, batch: ClaimedBatch, *, delay_seconds: float) -> None:
    """Nothing was tried: whoever comes after the delay may claim it again."""
    fence(
        session,
        batch,
        BatchState.CLAIMED,
        state=BatchState.PENDING,
        attempts=Batch.attempts - 1,
        not_before=utc_in(delay_seconds),
    )


def return_batch(
    session: Session, batch: ClaimedBatch, *, error: str, delay_seconds: float, is_attempt: bool = True
) -> None:
    """The provider certainly did not take it: everything goes back to pending, due after the delay."""
    state = _hold_execution(session, batch.execution_id)
    fence(
        session,
        batch,
        BatchState.SENDING,
        state=BatchState.PENDING,
        attempts=Batch.attempts - (0 if is_attempt else 1),
        not_before=utc_in(delay_seconds),
        lease_until=None,
        error=error[:2000],
    )
    deltas = Deltas(session, batch)
    _take_back(session, batch, deltas, state)
    deltas.apply()


def refuse_messages(session: Session, batch: ClaimedBatch, refused: Mapping[int, str]) -> None:
    """The provider took nothing because of some recipients: those fail, the rest is due again at once."""
    state = _hold_execution(session, batch.execution_id)
    fence(session, batch, BatchState.SENDING, state=BatchState.PENDING, attempts=Batch.attempts - 1)
    deltas = Deltas(session, batch)
    for reason, group in _by_reason(refused).items():
        deltas.move(MessageState.SENDING, MessageState.FAILED, ids=group, reason=reason)
    _take_back(session, batch, deltas, state)
    deltas.apply()


def leave_unknown(session: Session, batch: ClaimedBatch, *, error: str) -> None:
    """Nobody can tell whether the provider took it. Only evidence or a person ends this state."""
    fence(session, batch, BatchState.SENDING, state=BatchState.UNKNOWN, error=error[:2000])
    deltas = Deltas(session, batch)
    deltas.move(MessageState.SENDING, MessageState.UNKNOWN)
    deltas.apply()


def record_sms(
    session: Session,
    batch: ClaimedBatch,
    *,
    accepted: Mapping[int, str | None],
    failed: Mapping[int, str],
    unknown: Collection[int],
    retry_delay: float,
    error: str | None,
    is_attempt: bool = True,
) -> None:
    """Record the outcomes of a batch of single requests; messages in none of the groups go back to pending.

    Without `is_attempt` the claim does not count: some were taken, or the provider only said when to come back.
    """
    state = _hold_execution(session, batch.execution_id)
    # The batch is held before its messages are counted, so that evidence is counted on one side or on the other.
    fence(
        session,
        batch,
        BatchState.SENDING,
        attempts=Batch.attempts - (0 if is_attempt else 1),
        error=error[:2000] if error else None,
    )
    deltas = Deltas(session, batch)
    _accept_sms(session, batch, accepted, deltas)
    for reason, group in _by_reason(failed).items():
        deltas.move(MessageState.SENDING, MessageState.FAILED, ids=group, reason=reason)
    if unknown:
        deltas.move(MessageState.SENDING, MessageState.UNKNOWN, ids=unknown)
    returned = _take_back(session, batch, deltas, state)
    after = BatchState.PENDING if returned else BatchState.UNKNOWN if unknown else BatchState.DONE
    due = utc_in(retry_delay) if returned else None
    fence(session, batch, BatchState.SENDING, state=after, not_before=due)
    deltas.apply()


def give_up_batch(session: Session, batch: ClaimedBatch, *, error: str) -> None:
    """A claimed batch used up its attempts: its messages fail, and a failed job is kept for people to see."""
    fence(session, batch, BatchState.CLAIMED, state=BatchState.FAILED, error=error[:2000])
    deltas = Deltas(session, batch)
    deltas.move(MessageState.PENDING, MessageState.FAILED, reason=Failure.GAVE_UP)
    session.add(
        FailedJob(
            kind=JobKind.SEND_BATCH,
            execution_id=batch.execution_id,
            subject={"execution_id": batch.execution_id, "batch_id": batch.id},
            error=error[:2000],
        )
    )
    session.flush()
    deltas.apply()


def _note_progress(session: Session, execution_id: int) -> None:
    """A claim is progress, since a batch can only be claimed so often before it gives up."""
    session.execute(
        update(FlowExecution)
        .where(FlowExecution.id == execution_id)
        .values(idle_runs=0)
        .execution_options(synchronize_session=False)
    )


def _take_back(session: Session, batch: ClaimedBatch, deltas: Deltas, state: ExecutionState) -> int:
    """Messages that certainly were not taken: pending again, or cancelled with their execution."""
    if state is ExecutionState.CANCELLED:
        return deltas.move(MessageState.SENDING, MessageState.CANCELLED)
    returned = count_open_messages(session, batch)
    deltas.count(MessageState.SENDING, MessageState.PENDING, returned)
    return returned


def _give_back(session: Session, batch: ClaimedBatch) -> None:
    """Nothing was sent: the claim does not count as an attempt."""
    fence(session, batch, BatchState.SENDING, state=BatchState.PENDING, attempts=Batch.attempts - 1)


def _accept_sms(
    session: Session, batch: ClaimedBatch, accepted: Mapping[int, str | None], deltas: Deltas
) -> None:
    """Move accepted SMS; an early delivery report may have moved some, so only what moves here is counted here."""
    moving = session.execute(
        select(Message.id, Message.parts)
        .where(*open_messages(batch), Message.id.in_(accepted))
        .with_for_update()
    ).all()
    if not moving:
        return
    ids = [message_id for message_id, _ in moving]
    provider_ids = case({key: accepted[key] for key in ids}, value=Message.id)
    deltas.move(MessageState.SENDING, MessageState.ACCEPTED, ids=ids, provider_message_id=provider_ids)
    deltas.count_sms(len(ids), sum(parts or 0 for _, parts in moving))


def _store_parts(session: Session, batch: ClaimedBatch, parts: Mapping[int, int]) -> None:
    session.execute(
        update(Message)
        .where(*open_messages(batch), Message.id.in_(parts))
        .values(parts=case(dict(parts), value=Message.id))
        .execution_options(synchronize_session=False)
    )


def _suppressed_now(session: Session, batch: ClaimedBatch) -> dict[int, Exclusion]:
    rows = session.execute(
        select(Message.id, Unsubscribed.scope)
        .join(
            Unsubscribed,
            (Unsubscribed.channel == batch.channel) & (Unsubscribed.address == Message.address),
        )
        .where(
            *open_messages(batch),
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


def _recipient(row: list[Any], names: list[str]) -> Recipient:
    message_id, address, client_id, consent, *values = row
    exclusion = None
    if client_id is None:
        exclusion = Exclusion.CLIENT_DELETED
    elif consent == Consent.DENIED:
        exclusion = Exclusion.NO_CONSENT
    return Recipient(message_id, address, dict(zip(names, values, strict=True)), exclusion)


def _hold_execution(session: Session, execution_id: int) -> ExecutionState:
    """The state of the execution, which nobody can change until the end of the transaction."""
    state = session.execute(
        text(f"SELECT state FROM {FlowExecution.__tablename__} WHERE id = :id{share_lock(session)}"),
        {"id": execution_id},
    ).scalar_one()
    return ExecutionState(state)


def _by_reason(reasons: Mapping[int, str]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for message_id, reason in reasons.items():
        groups.setdefault(str(reason)[:200], []).append(message_id)
    return groups
