"""What all rows of the benchmark send: clients, a template with three personal fields, and a provider that takes all."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx
from sqlalchemy import Integer, cast, func, insert, literal, select, union_all
from sqlalchemy.orm import Session

from db.models import Client, ClientList, ClientListMember, Flow, FlowStep, Template, TemplateVersion
from db.queries.executions import insert_execution, prepare_execution
from db.states import Channel, FlowState

SUBJECT: Final = "Hello {{ client.first_name }}"
HTML: Final = (
    "<p>Dear {{ client.first_name }} {{ client.last_name }} from {{ client.custom.city }},</p>"
    + "<p>news</p>" * 100
    + '<a href="{{ unsubscribe_url }}">unsubscribe</a>'
)
SMS: Final = "Hi {{ client.first_name }} {{ client.last_name }}, see you in {{ client.custom.city }}"
EMAIL_BATCH: Final = 1000
SENDERS: Final = {Channel.EMAIL: {"from_email": "a@x.example"}, Channel.SMS: {"sender_id": "Bench"}}


def add_clients(session: Session, count: int) -> None:
    """`count` clients with email, phone, names and a custom field; one statement."""
    number = _numbers(count)
    session.execute(
        insert(Client).from_select(
            [
                *("identity_key", "email", "phone", "first_name", "last_name", "tags", "custom_fields"),
                *("email_consent", "sms_consent"),
            ],
            select(
                func.concat("c", number.c.n, "@x.example"),
                func.concat("c", number.c.n, "@x.example"),
                func.concat("+35387", 1_000_000 + number.c.n),
                func.concat("First", number.c.n),
                literal("Last"),
                literal("[]"),
                literal('{"city": "Cork"}'),
                literal("granted"),
                literal("granted"),
            ),
            include_defaults=False,
        )
    )


def add_flow(session: Session, name: str, recipients: int, channel: Channel) -> int:
    """An active flow to the first so many clients; returns its id."""
    client_list = ClientList(name=name)
    template = Template(name=name, channel=channel)
    session.add_all([client_list, template])
    session.flush()
    is_email = channel is Channel.EMAIL
    session.add(
        TemplateVersion(
            template_id=template.id,
            version=1,
            subject=SUBJECT if is_email else "",
            html=HTML if is_email else "",
            text="" if is_email else SMS,
        )
    )
    flow = Flow(name=name, state=FlowState.ACTIVE, client_list_id=client_list.id, sender=SENDERS[channel])
    session.add(flow)
    session.flush()
    session.add(FlowStep(flow_id=flow.id, position=1, template_id=template.id))
    first = select(func.min(Client.id)).scalar_subquery()
    session.execute(
        insert(ClientListMember).from_select(
            ["client_list_id", "client_id"],
            select(literal(client_list.id), Client.id).where(Client.id < first + recipients),
        )
    )
    return flow.id


def open_execution(session: Session, flow_id: int, batch_size: int = EMAIL_BATCH) -> int:
    """An execution with its snapshot."""
    execution = insert_execution(session, session.get_one(Flow, flow_id))
    prepare_execution(session, execution.id, batch_sizes=dict.fromkeys(Channel, batch_size))
    return execution.id


@contextmanager
def sink() -> Iterator[str]:
    """The address of a provider in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.sink", str(port)])
    try:
        _wait_for(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def sink_report(url: str) -> dict[str, Any]:
    """What the sink saw since the last report."""
    report: dict[str, Any] = httpx.get(url, trust_env=False).json()
    return report


def _numbers(count: int) -> Any:
    """The numbers 0 .. count - 1 as a table, without a table of numbers in the database."""
    digits = union_all(*(select(literal(n).label("d")) for n in range(10))).subquery("digits")
    first, *others = [digits.alias(f"p{n}") for n in range(len(str(count - 1)))]
    number: Any = first.c.d
    source: Any = first
    for power, place in enumerate(others, start=1):
        number += place.c.d * 10**power
        # All pairs are wanted; without a condition that names both, SQLAlchemy warns of them.
        source = source.join(place, place.c.d >= first.c.d - 9)
    table = select(cast(number, Integer).label("n")).select_from(source).subquery("number")
    return select(table.c.n).where(table.c.n < count).order_by(table.c.n).subquery("ordered")


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
