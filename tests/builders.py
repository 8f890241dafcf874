"""What scenarios start from: a campaign over a list of clients, in the database they are given."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, event, insert, update
from sqlalchemy.orm import Session

from db.base import Base, table
from db.dialect import utc_in
from db.models import (
    Batch,
    Client,
    ClientList,
    ClientListMember,
    Flow,
    FlowExecution,
    FlowStep,
    Template,
    TemplateVersion,
)
from db.queries import ledger
from db.queries.executions import insert_execution, prepare_execution
from db.queries.transitions import ClaimedBatch
from db.queries.unknown import Decided, Decision, resend_unknown
from db.states import Channel, FlowState

HTML = "<p>Hello {{ client.first_name }}</p><p><a href='{{ unsubscribe_url }}'>unsubscribe</a></p>"
SENDERS: dict[Channel, dict[str, Any]] = {
    Channel.EMAIL: {"from_email": "news@shop.example.com", "from_name": "Shop"},
    Channel.SMS: {"sender_id": "Shop"},
}


@dataclass(frozen=True)
class Campaign:
    flow: Flow
    client_list: ClientList
    template: Template
    version: TemplateVersion


def add_clients(session: Session, count: int, *, list_id: int | None = None, **values: Any) -> list[int]:
    """`count` clients with an email and a phone; `values` override columns of all of them."""
    rows = []
    for number in range(count):
        row = {
            "email": f"client{number}@example.com",
            "phone": f"+35387{number:07d}",
            "first_name": f"Client{number}",
            "last_name": "O'Neill",
            "tags": [],
            "custom_fields": {},
            **values,
        }
        rows.append({"identity_key": row["email"] or row["phone"], **row})
    clients = [Client(**row) for row in rows]
    session.add_all(clients)
    session.flush()
    if list_id is not None and clients:
        members = [{"client_list_id": list_id, "client_id": client.id} for client in clients]
        session.execute(insert(ClientListMember), members)
    return [client.id for client in clients]


def add_campaign(
    session: Session,
    *,
    channel: Channel = Channel.EMAIL,
    clients: int = 0,
    name: str = "Spring",
    text: str = "Hello {{ client.first_name }}",
    **flow_values: Any,
) -> Campaign:
    """An active flow with one send step, its template and a static list of `clients` clients."""
    client_list = ClientList(name=f"{name} list")
    template = Template(name=f"{name} template", channel=channel)
    session.add_all([client_list, template])
    session.flush()
    is_email = channel is Channel.EMAIL
    version = TemplateVersion(
        template_id=template.id,
        version=1,
        subject="Hello {{ client.first_name }}" if is_email else "",
        html=HTML if is_email else "",
        text=text,
    )
    flow = Flow(
        name=name,
        state=FlowState.ACTIVE,
        client_list_id=client_list.id,
        sender=SENDERS[channel],
        **flow_values,
    )
    session.add_all([version, flow])
    session.flush()
    session.add(FlowStep(flow_id=flow.id, position=1, template_id=template.id))
    session.flush()
    add_clients(session, clients, list_id=client_list.id)
    return Campaign(flow, client_list, template, version)


def prepared(session: Session, campaign: Campaign, *, batch_size: int = 1000) -> FlowExecution:
    """An execution of the campaign with its snapshot made, ready to send."""
    execution = insert_execution(session, campaign.flow)
    prepare_execution(session, execution.id, batch_sizes=dict.fromkeys(Channel, batch_size))
    session.refresh(execution)
    return execution


def to_sending(session: Session, batch: ClaimedBatch, *, lease_seconds: int = 60, **values: Any) -> set[int]:
    """Commit `sending` for all of a claimed batch that may be sent, as the engine does after rendering it."""
    recipients = ledger.read_batch(session, batch)
    ready = [r.message_id for r in recipients if not r.exclusion]
    excluded = {r.message_id: r.exclusion for r in recipients if r.exclusion}
    return ledger.commit_sending(
        session, batch, ready=ready, failed={}, excluded=excluded, lease_seconds=lease_seconds, **values
    )


def resend(session: Session, execution_id: int) -> Decided:
    """Have all unknown messages sent again now, as a person would by a request."""
    decision = Decision("Ada", token_id=1, before_evidence_window=True)
    return resend_unknown(session, execution_id, decision, window=timedelta(hours=72))


def age_batches(session: Session, *batch_ids: int, hours: float) -> None:
    """As if these batches had last changed so long ago."""
    session.execute(
        update(Batch).where(Batch.id.in_(batch_ids)).values(updated_at=utc_in(-round(hours * 3600)))
    )


def empty(engine: Engine) -> None:
    """Delete all rows but those that the migrations put there."""
    with engine.begin() as connection:
        for each in reversed(Base.metadata.sorted_tables):
            if each.name != table("gates"):
                connection.execute(each.delete())


@contextmanager
def heard(engine: Engine, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """What SQLAlchemy says of this event meanwhile: the arguments, in order. Engines outlive their tests."""
    said: list[tuple[Any, ...]] = []

    def hear(*given: Any) -> None:
        said.append(given)

    event.listen(engine, name, hear)
    try:
        yield said
    finally:
        event.remove(engine, name, hear)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
