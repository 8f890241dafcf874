"""The campaign of a scenario: clients that nobody else has, a flow to them, and an execution that waits for a worker."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, literal, select
from sqlalchemy.orm import Session

from db.engine import Database
from db.models import Client, ClientListMember, Flow
from db.queries.executions import insert_execution
from db.states import Channel, Consent
from tests.builders import add_campaign

DENIED_EVERY = 50
"""One in so many clients has denied consent: the snapshot excludes them, and nothing may ever go to them."""


@dataclass(frozen=True)
class Audience:
    """An active flow with one send step, and the addresses of its clients, of the flow's channel."""

    flow_id: int
    name: str
    channel: Channel
    addresses: list[str]


@dataclass(frozen=True)
class Opened:
    """An execution of a flow; `uid` begins the references of its messages."""

    execution_id: int
    uid: str
    audience: Audience


def add_audience(database: Database, name: str, *, channel: Channel, clients: int, first: int) -> Audience:
    """A flow and its clients. `first` numbers the clients: no two audiences of a database may share a number."""

    def work(session: Session) -> Audience:
        campaign = add_campaign(session, channel=channel, name=name)
        rows = [_client(number) for number in range(first, first + clients)]
        session.execute(insert(Client), rows)
        members = select(literal(campaign.client_list.id), Client.id).where(
            Client.identity_key.in_([row["identity_key"] for row in rows])
        )
        session.execute(insert(ClientListMember).from_select(["client_list_id", "client_id"], members))
        field = "email" if channel is Channel.EMAIL else "phone"
        return Audience(campaign.flow.id, name, channel, [row[field] for row in rows])

    return database.run(work)


def open_campaign(database: Database, audience: Audience) -> Opened:
    """A queued execution of the flow, which waits for somebody to prepare it."""

    def work(session: Session) -> Opened:
        execution = insert_execution(session, session.get_one(Flow, audience.flow_id))
        return Opened(execution.id, execution.uid, audience)

    return database.run(work)


def _client(number: int) -> dict[str, Any]:
    consent = Consent.DENIED if number % DENIED_EVERY == DENIED_EVERY - 1 else Consent.GRANTED
    return {
        "identity_key": f"client{number}@example.com",
        "email": f"client{number}@example.com",
        "phone": f"+35387{number:07d}",
        "first_name": f"Client{number}",
        "last_name": "O'Neill",
        "email_consent": consent,
        "sms_consent": consent,
        "tags": [],
        "custom_fields": {},
    }
