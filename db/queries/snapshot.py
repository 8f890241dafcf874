"""The audience of an execution, written into the ledger by two statements whatever its size."""

from collections import Counter
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, insert, literal, null, select
from sqlalchemy.orm import Session

from db.models import (
    Batch,
    Client,
    ClientList,
    ClientListMember,
    ExecutionStep,
    FlowExecution,
    Message,
    Unsubscribed,
)
from db.models.suppressions import EVERYWHERE
from db.queries.erasure import forget_latecomers
from db.queries.segments import members_condition
from db.queries.stats import insert_stats, move_stats, reason_key
from db.states import BatchState, Breakdown, Channel, Consent, Exclusion, ListKind, MessageState


def insert_snapshot(
    session: Session, execution: FlowExecution, step: ExecutionStep, batch_size: int
) -> dict[str, int]:
    """Write one message per client of the list, excluded ones too with the reason, and cut the rest into batches.

    Returns the count per message state.
    """
    session.execute(
        insert(Message).from_select(
            ["execution_id", "step_id", "client_id", "channel", "address", "state", "reason", "feedback"],
            _rows(session, execution, step),
            include_defaults=False,
        )
    )
    session.execute(_cut(execution.id, step.id, batch_size))
    counts = _count(session, execution.id, step.id)
    by_state = {state.value: counts[state.value] for state in MessageState if counts[state.value]}
    insert_stats(session, execution.id)
    move_stats(session, execution.id, {"intended": sum(by_state.values()), **counts})
    forget_latecomers(session)
    return by_state


def audience(
    session: Session, *, flow_id: int, list_id: int, channel: Channel, requires_consent: bool
) -> Select[Any]:
    """Rows (client_id, address, reason) of a list for a channel; a reason means that the client is excluded.

    A dynamic list is whom its rule chooses when this is run.

    Raises:
        Invalid: the list's rule cannot be used any more.
    """
    address = Client.email if channel is Channel.EMAIL else Client.phone
    consent = Client.email_consent if channel is Channel.EMAIL else Client.sms_consent
    refused = consent != Consent.GRANTED if requires_consent else consent == Consent.DENIED
    found = _members(
        session,
        list_id,
        select(
            Client.id.label("client_id"),
            address.label("address"),
            case(
                (address.is_(None), Exclusion.NO_ADDRESS.value),
                (~_has_right_shape(channel, address), Exclusion.INVALID_ADDRESS.value),
                (refused, Exclusion.NO_CONSENT.value),
                (_suppressed(channel, address, EVERYWHERE), Exclusion.SUPPRESSED.value),
                (_suppressed(channel, address, flow_id), Exclusion.SUPPRESSED_FOR_FLOW.value),
                else_=null(),
            ).label("reason"),
        ),
    )
    # Emails are unique among clients (they are the identity key); a phone may be shared by a family.
    return found if channel is Channel.EMAIL else _first_of_each_address(found)


def _members(session: Session, list_id: int, clients: Select[Any]) -> Select[Any]:
    """Those of the clients who are on the list."""
    client_list = session.get(ClientList, list_id)
    if client_list is not None and client_list.kind is ListKind.DYNAMIC:
        return clients.where(members_condition(session, client_list))
    # A static list is read along its own key, and a list that is gone has nobody on it.
    return clients.join(ClientListMember, ClientListMember.client_id == Client.id).where(
        ClientListMember.client_list_id == list_id
    )


def _rows(session: Session, execution: FlowExecution, step: ExecutionStep) -> Select[Any]:
    rows = audience(
        session,
        flow_id=execution.flow_id,
        list_id=step.client_list_id,
        channel=step.channel,
        requires_consent=step.requires_consent,
    ).subquery("audience")
    state = case((rows.c.reason.is_(None), MessageState.PENDING.value), else_=MessageState.EXCLUDED.value)
    return select(
        literal(execution.id),
        literal(step.id),
        rows.c.client_id,
        literal(step.channel.value),
        rows.c.address,
        state,
        rows.c.reason,
        literal(0),
    ).order_by(rows.c.client_id)


def _first_of_each_address(found: Select[Any]) -> Select[Any]:
    rows = found.subquery("found")
    # Clients that are excluded anyway come last, so that they do not take the place of one who is not.
    order = (case((rows.c.reason.is_(None), 0), else_=1), rows.c.client_id)
    ranked = select(
        rows, func.row_number().over(partition_by=rows.c.address, order_by=order).label("place")
    ).subquery("ranked")
    is_copy = and_(ranked.c.reason.is_(None), ranked.c.place > 1)
    reason = case((is_copy, Exclusion.DUPLICATE_ADDRESS.value), else_=ranked.c.reason)
    return select(ranked.c.client_id, ranked.c.address, reason.label("reason"))


def _has_right_shape(channel: Channel, address: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """What no provider takes is not even tried. The API and imports look closer; this is for rows that came past them,
    and asks only what a database can tell of a million rows."""
    if channel is Channel.SMS:
        return address.regexp_match("^[+][1-9][0-9]{6,14}$")
    return and_(address.like("_%@_%._%"), ~address.like("%@%@%"), ~address.like("% %"))


def _suppressed(channel: Channel, address: ColumnElement[Any] | Any, scope: int) -> ColumnElement[bool]:
    return exists().where(
        Unsubscribed.channel == channel,
        Unsubscribed.address == address,
        Unsubscribed.scope == scope,
        Unsubscribed.active.is_(True),
    )


def _cut(execution_id: int, step_id: int, batch_size: int) -> Any:
    number = func.row_number().over(order_by=Message.id) - 1
    pending = (
        select(Message.id.label("id"), number.label("number"))
        .where(
            Message.execution_id == execution_id,
            Message.state == MessageState.PENDING,
            Message.step_id == step_id,
        )
        .subquery("pending")
    )
    batch = pending.c.number // batch_size
    rows = (
        select(
            literal(execution_id),
            literal(step_id),
            func.min(pending.c.id),
            func.max(pending.c.id),
            func.count(),
            literal(BatchState.PENDING.value),
            literal(0),
            literal(0),
        )
        .group_by(batch)
        .order_by(func.min(pending.c.id))
    )
    columns = [
        "execution_id",
        "step_id",
        "first_message_id",
        "last_message_id",
        "size",
        "state",
        "token",
        "attempts",
    ]
    return insert(Batch).from_select(columns, rows, include_defaults=False)


def _count(session: Session, execution_id: int, step_id: int) -> Counter[str]:
    """By state, and those who are excluded by reason, as `move_stats` calls them."""
    groups = session.execute(
        select(Message.state, Message.reason, func.count())
        .where(Message.execution_id == execution_id, Message.step_id == step_id)
        .group_by(Message.state, Message.reason)
    )
    counts: Counter[str] = Counter()
    for state, reason, count in groups:
        counts[state.value] += count
        if state is MessageState.EXCLUDED:
            counts[reason_key(Breakdown.EXCLUDED, reason)] += count
    return counts
