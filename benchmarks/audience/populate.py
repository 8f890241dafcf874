"""What a business of a million clients has behind it: five campaigns to everybody, and what came back."""

from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import and_, func, insert, literal, select, text
from sqlalchemy.orm import Session

from benchmarks.workload import add_flow
from db.engine import Database
from db.models import Client, Event, ExecutionStep, Flow, FlowExecution, Message
from db.queries.executions import insert_execution
from db.states import Channel, ExecutionState, Feedback, MessageState

EXECUTIONS: Final = 5
_DAYS_BETWEEN = 30


def add_history(database: Database) -> list[int]:
    """Five executions, the last one yesterday: everybody accepted, three in ten opened, some clicked. Returns their ids."""
    flow_id = database.run(lambda s: add_flow(s, "newsletter", 1, Channel.EMAIL))
    return [database.run(lambda s, n=number: _add_execution(s, flow_id, n)) for number in range(EXECUTIONS)]  # type: ignore[misc]


def _add_execution(session: Session, flow_id: int, number: int) -> int:
    at = datetime.now(UTC) - timedelta(days=1 + _DAYS_BETWEEN * (EXECUTIONS - 1 - number))
    execution = insert_execution(session, session.get_one(Flow, flow_id))
    execution.state, execution.started_at, execution.finished_at = ExecutionState.COMPLETED, at, at
    step = session.scalars(select(ExecutionStep).where(ExecutionStep.execution_id == execution.id)).one()
    session.flush()
    _add_messages(session, execution, step, number)
    _add_events(session, execution, at)
    return execution.id


def _add_messages(session: Session, execution: FlowExecution, step: ExecutionStep, number: int) -> None:
    delivered = int(Feedback.PROCESSED | Feedback.DELIVERED)
    # Whoever opens does so by his own habits: not always the same people, and one in ten never.
    opens = and_((Client.id * 7 + number) % 3 == 0, Client.id % 10 != 3)
    opened = func.if_(opens, int(Feedback.OPENED), 0)
    clicked = func.if_(and_(opens, (Client.id * 7 + number) % 30 == 0), int(Feedback.CLICKED), 0)
    session.execute(
        insert(Message).from_select(
            ["execution_id", "step_id", "client_id", "channel", "address", "state", "feedback"],
            select(
                literal(execution.id),
                literal(step.id),
                Client.id,
                literal(Channel.EMAIL.value),
                Client.email,
                literal(MessageState.ACCEPTED.value),
                literal(delivered) + opened + clicked,
            ).order_by(Client.id),
            include_defaults=False,
        )
    )


def _add_events(session: Session, execution: FlowExecution, at: datetime) -> None:
    for kind, bit in (("open", Feedback.OPENED), ("click", Feedback.CLICKED)):
        session.execute(
            insert(Event).from_select(
                ["fingerprint", "provider", "kind", "message_id", "client_id", "occurred_at", "raw"],
                select(
                    func.unhex(func.sha2(func.concat(kind, Message.id), 256)),
                    literal("sendgrid"),
                    literal(kind),
                    Message.id,
                    Message.client_id,
                    literal(at + timedelta(hours=3), Event.occurred_at.type),
                    text("'{}'"),
                ).where(Message.execution_id == execution.id, Message.feedback.bitwise_and(int(bit)) != 0),
                include_defaults=False,
            )
        )
