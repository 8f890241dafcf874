"""What a peer does: each recipient is a unit of work of its own, as in most tools. Shared by `peer_prefect` and `peer_celery`.

The template has the three personal fields of `sending.py`, and the renderer is the project's own; the campaign is apart from
others in the database. A peer has no batches, leases or fences to pay for, and nothing to say what became of a message
whose process died.
"""

import secrets
import time

import httpx
from sqlalchemy import func, insert, literal, select, update

from db.engine import Database, Session, make_engine
from db.migrate import upgrade
from db.models import (
    Client,
    ClientList,
    ClientListMember,
    Flow,
    FlowStep,
    Message,
    Template,
    TemplateVersion,
)
from db.queries.executions import insert_execution, prepare_execution
from db.queries.suppressions import is_suppressed
from db.states import Channel, FlowState, MessageState
from tasks.providers.sendgrid_payload import Envelope, Personalization, build_mail
from tasks.templates.context import client_context
from tasks.templates.personalization import RenderFailed, TooLarge, compile_email

SUBJECT = "Hello {{ client.first_name }}"
HTML = (
    "<p>Dear {{ client.first_name }} {{ client.last_name }} from {{ client.custom.city }},</p>"
    + "<p>news</p>" * 100
    + '<a href="{{ unsubscribe_url }}">unsubscribe</a>'
)
WARM_UP = 32
"""Recipients before the clock starts: imports, connections and compiled statements are no part of a rate."""
PATIENCE = 120.0
_LOOK_SECONDS = 0.05


class PeerMissing(RuntimeError):
    """A peer cannot be measured here; the message says why."""


class OneByOne:
    """Sends messages of the ledger, one request each. One instance per process, for all its threads."""

    def __init__(self, database_url: str, sink_url: str) -> None:
        self._database = Database(make_engine(database_url))
        self._email = compile_email(SUBJECT, HTML, "")
        self._client = httpx.Client(trust_env=False)
        self._url = f"{sink_url}/v3/mail/send"

    def send(self, message_id: int) -> None:
        """Read the client, look at the suppressions, render, post, and record that it was accepted.

        Raises:
            httpx.HTTPError: it was not accepted.
        """
        with self._database.reading() as session:
            address, first, last, custom = (
                session.execute(
                    select(Message.address, Client.first_name, Client.last_name, Client.custom_fields)
                    .join(Client, Client.id == Message.client_id)
                    .where(Message.id == message_id)
                )
                .one()
                .tuple()
            )
            if address is None or is_suppressed(session, Channel.EMAIL, address):
                return
        fields = {"first_name": first, "last_name": last, "custom_fields": custom}
        values = self._email.render(client_context(fields, "https://x"))
        if isinstance(values, RenderFailed | TooLarge):
            raise SystemExit(f"not rendered: {values}")
        person = Personalization(address, first, str(message_id), values, "https://x")
        answer = self._client.post(
            self._url, content=build_mail(Envelope("a@x.example"), self._email, [person])
        )
        answer.raise_for_status()
        provider_id = answer.headers.get("X-Message-Id")
        self._database.run(lambda s: _accept(s, message_id, provider_id))


def open_campaign(database_url: str, recipients: int) -> list[int]:
    """A new campaign with its snapshot taken; returns the ids of its messages, all of them pending."""
    upgrade(database_url)
    database = Database(make_engine(database_url))
    try:
        return database.run(lambda s: _open(s, recipients))
    finally:
        database.engine.dispose()


def wait_recorded(database_url: str, message_ids: list[int]) -> float:
    """Return the time (`time.perf_counter`) when the ledger says that all of them are accepted.

    Raises:
        TimeoutError: they are not, after `PATIENCE` seconds.
    """
    database = Database(make_engine(database_url))
    deadline = time.monotonic() + PATIENCE
    try:
        while True:
            with database.reading() as session:
                accepted = _count_accepted(session, message_ids)
            if accepted == len(message_ids):
                return time.perf_counter()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{accepted} of {len(message_ids)} messages were recorded in {PATIENCE} s")
            time.sleep(_LOOK_SECONDS)
    finally:
        database.engine.dispose()


def row(name: str, recipients: int, seconds: float) -> dict[str, object]:
    """A figure in the form of `sending.py`."""
    return {
        "name": name,
        "recipients": recipients,
        "seconds": round(seconds, 2),
        "per_second": round(recipients / seconds),
    }


def _accept(session: Session, message_id: int, provider_id: str | None) -> None:
    session.execute(
        update(Message)
        .where(Message.id == message_id)
        .values(state=MessageState.ACCEPTED, provider_message_id=provider_id)
        .execution_options(synchronize_session=False)
    )


def _count_accepted(session: Session, message_ids: list[int]) -> int:
    """Messages of a campaign have ids side by side: they were written by one statement."""
    return session.scalars(
        select(func.count()).where(
            Message.id.between(message_ids[0], message_ids[-1]), Message.state == MessageState.ACCEPTED
        )
    ).one()


def _open(session: Session, recipients: int) -> list[int]:
    name = f"peer-{secrets.token_hex(6)}"
    client_list = ClientList(name=name)
    template = Template(name=name, channel=Channel.EMAIL)
    session.add_all([client_list, template])
    session.flush()
    session.add(TemplateVersion(template_id=template.id, version=1, subject=SUBJECT, html=HTML, text=""))
    flow = Flow(
        name=name,
        state=FlowState.ACTIVE,
        client_list_id=client_list.id,
        sender={"from_email": "a@x.example"},
    )
    session.add(flow)
    session.flush()
    session.add(FlowStep(flow_id=flow.id, position=1, template_id=template.id))
    _add_clients(session, name, client_list.id, recipients)
    execution = insert_execution(session, flow)
    prepare_execution(session, execution.id, batch_sizes=dict.fromkeys(Channel, 1000))
    ids = select(Message.id).where(Message.execution_id == execution.id).order_by(Message.id)
    return list(session.scalars(ids))


def _add_clients(session: Session, name: str, list_id: int, recipients: int) -> None:
    emails = [f"{name}-{number}@x.example" for number in range(recipients)]
    session.execute(
        insert(Client),
        [
            {
                "identity_key": email,
                "email": email,
                "first_name": f"First{number}",
                "last_name": "Last",
                "tags": [],
                "custom_fields": {"city": "Cork"},
            }
            for number, email in enumerate(emails)
        ],
    )
    members = select(literal(list_id), Client.id).where(Client.identity_key.like(f"{name}-%"))
    session.execute(insert(ClientListMember).from_select(["client_list_id", "client_id"], members))
