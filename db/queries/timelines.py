"""What one client was sent, or was not, and why: the rows of the ledger that are about them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from db.errors import Invalid
from db.models import Batch, ExecutionStep, FlowExecution, Message
from db.queries.clients import get_client
from db.queries.merging import list_merged_ids
from db.queries.pages import Page
from db.states import BatchState, MessageState


@dataclass(frozen=True)
class ClientMessage:
    """A message and where it belongs: the execution's uid, its flow, and the position of its step."""

    message: Message
    uid: str
    flow_id: int
    step: int


def list_client_messages(session: Session, client_id: int, *, after: int, limit: int) -> Page[ClientMessage]:
    """Everything a client was, or was not, sent, newest first; the cursor is the id of the last message.

    In the order of the unique key of the ledger, which begins with the client. The rows of a deleted client stay.

    Raises:
        NotFound: there is no such client, and no message of one.
        Invalid: the message that the cursor names is none of the client's.
    """
    # Of a step that the client has a message of itself, a client that was merged into it keeps its own.
    ids = [client_id, *list_merged_ids(session, client_id)]
    query = (
        select(Message, FlowExecution.uid, FlowExecution.flow_id, ExecutionStep.position)
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
        .join(ExecutionStep, ExecutionStep.id == Message.step_id)
        .where(Message.client_id.in_(ids))
    )
    if after:
        last = session.get(Message, after)
        if last is None or last.client_id not in ids:
            raise Invalid("cursor", "names no message of this client; begin again without it")
        is_older = Message.execution_id < last.execution_id
        is_earlier_step = and_(Message.execution_id == last.execution_id, Message.step_id < last.step_id)
        is_same_step = and_(
            Message.execution_id == last.execution_id, Message.step_id == last.step_id, Message.id < last.id
        )
        query = query.where(or_(is_older, is_earlier_step, is_same_step))
    rows = session.execute(
        query.order_by(Message.execution_id.desc(), Message.step_id.desc(), Message.id.desc()).limit(
            limit + 1
        )
    )
    found = [ClientMessage(*row) for row in rows]
    if not found:
        get_client(session, client_id)
    items = found[:limit]
    _mark_sending(session, [item.message for item in items])
    return Page(items, items[-1].message.id if len(found) > limit else None)


def _mark_sending(session: Session, messages: Sequence[Message]) -> None:
    """Pending messages whose batch is being sent are `sending`; see `db/queries/transitions.py`."""
    pending = [message for message in messages if message.state is MessageState.PENDING]
    if not pending:
        return
    sending = set(
        session.scalars(
            select(Message.id)
            .join(
                Batch,
                and_(
                    Batch.execution_id == Message.execution_id,
                    Batch.state == BatchState.SENDING,
                    Message.id.between(Batch.first_message_id, Batch.last_message_id),
                ),
            )
            .where(Message.id.in_([message.id for message in pending]))
        )
    )
    for message in pending:
        if message.id in sending:
            set_committed_value(message, "state", MessageState.SENDING)
