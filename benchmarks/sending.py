"""Emails a second: our engine beside the bare limit and the naive way, in one run, on one machine, against one sink.

    make bench                              10,000 recipients
    make bench ARGS="--recipients 100000"

Rows: `engine` is snapshot and sending by the ledger, without Prefect's start; `bare` renders and posts the same batches with
one UPDATE each and no safety; `one request each` posts one message a request, as most tools do (on a smaller number).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert, literal, select, update

from db.engine import Database, Session, make_engine
from db.migrate import downgrade, upgrade
from db.models import (
    Client,
    ClientList,
    ClientListMember,
    Flow,
    FlowExecution,
    FlowStep,
    Message,
    Template,
    TemplateVersion,
)
from db.queries.executions import count_open, insert_execution, prepare_execution
from db.states import Channel, FlowState, MessageState
from settings import get_settings
from tasks.providers.sendgrid import SendGridMessenger
from tasks.providers.sendgrid_payload import Envelope, Personalization, build_mail
from tasks.sending.email import EmailSender
from tasks.sending.engine import SendEngine
from tasks.templates.context import client_context
from tasks.templates.personalization import RenderFailed, TooLarge, compile_email

SUBJECT = "Hello {{ client.first_name }}"
HTML = (
    "<p>Dear {{ client.first_name }} {{ client.last_name }} from {{ client.custom.city }},</p>"
    + "<p>news</p>" * 100
    + '<a href="{{ unsubscribe_url }}">unsubscribe</a>'
)
LANES = 3
BATCH = 1000
NAIVE_RECIPIENTS = 1000


def main() -> None:
    """Print a table, and one JSON object a line."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--recipients", type=int, default=10_000)
    recipients = arguments.parse_args().recipients
    url = os.environ["ICS_TEST_DATABASE_URL"]
    database = Database(make_engine(url))
    downgrade(url, "base")
    upgrade(url)
    with _sink() as sink:
        flow_id = database.run(lambda s: _campaign(s, recipients))
        rows = [_engine(database, sink, flow_id, recipients)]
        rows += [_bare(database, sink, flow_id, recipients), _one_each(sink)]
    _print(rows)


def _engine(database: Database, sink: str, flow_id: int, recipients: int) -> dict[str, object]:
    messenger = SendGridMessenger(sink, "key", timeout_seconds=30)
    sender = EmailSender(database, messenger, public_url="https://x.example", key=b"key")
    engine = SendEngine(database, get_settings(), {Channel.EMAIL: sender})
    started = time.perf_counter()
    execution_id = database.run(lambda s: _open(s, flow_id))
    prepared = time.perf_counter()
    lanes = [
        threading.Thread(target=engine.run_slice, args=(execution_id,), kwargs={"most_batches": recipients})
        for _ in range(LANES)
    ]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    ended = time.perf_counter()
    with database.reading() as session:
        left = count_open(session, execution_id)
    if left:
        raise SystemExit(f"not everything was sent: {left}")
    return _row("engine", recipients, ended - started, snapshot_seconds=round(prepared - started, 2))


def _bare(database: Database, sink: str, flow_id: int, recipients: int) -> dict[str, object]:
    compiled = compile_email(SUBJECT, HTML, "")
    client = httpx.Client(trust_env=False)
    started = time.perf_counter()
    execution_id = database.run(lambda s: _open(s, flow_id))
    last = 0
    while True:
        with database.reading() as session:
            rows = session.execute(
                select(Message.id, Message.address, Client.first_name, Client.last_name, Client.custom_fields)
                .join(Client, Client.id == Message.client_id)
                .where(Message.execution_id == execution_id, Message.id > last)
                .order_by(Message.id)
                .limit(BATCH)
            ).all()
        if not rows:
            break
        people = []
        for key, address, first, last_name, custom in rows:
            values = compiled.render(
                client_context(
                    {"first_name": first, "last_name": last_name, "custom_fields": custom}, "https://x"
                )
            )
            if isinstance(values, RenderFailed | TooLarge):
                raise SystemExit(f"not rendered: {values}")
            people.append(Personalization(address, first, str(key), values, "https://x"))
        client.post(f"{sink}/v3/mail/send", content=build_mail(Envelope("a@x.example"), compiled, people))
        first_id, last = rows[0][0], rows[-1][0]
        with database.transaction() as session:
            session.execute(
                update(Message)
                .where(Message.id.between(first_id, last))
                .values(state=MessageState.ACCEPTED)
                .execution_options(synchronize_session=False)
            )
    return _row("bare", recipients, time.perf_counter() - started)


def _one_each(sink: str) -> dict[str, object]:
    compiled = compile_email(SUBJECT, HTML, "")
    client = httpx.Client(trust_env=False)
    started = time.perf_counter()
    for number in range(NAIVE_RECIPIENTS):
        values = compiled.render(client_context({"first_name": f"n{number}"}, "https://x"))
        if isinstance(values, RenderFailed | TooLarge):
            raise SystemExit(f"not rendered: {values}")
        person = Personalization(f"c{number}@x.example", "", str(number), values, "https://x")
        client.post(f"{sink}/v3/mail/send", content=build_mail(Envelope("a@x.example"), compiled, [person]))
    return _row("one request each", NAIVE_RECIPIENTS, time.perf_counter() - started)


def _campaign(session: Session, recipients: int) -> int:
    client_list = ClientList(name="bench")
    template = Template(name="bench", channel=Channel.EMAIL)
    session.add_all([client_list, template])
    session.flush()
    session.add(TemplateVersion(template_id=template.id, version=1, subject=SUBJECT, html=HTML, text=""))
    flow = Flow(
        name="bench",
        state=FlowState.ACTIVE,
        client_list_id=client_list.id,
        sender={"from_email": "a@x.example"},
    )
    session.add(flow)
    session.flush()
    session.add(FlowStep(flow_id=flow.id, position=1, template_id=template.id))
    for start in range(0, recipients, 5000):
        session.execute(
            insert(Client),
            [
                {
                    "identity_key": f"c{n}@x.example",
                    "email": f"c{n}@x.example",
                    "first_name": f"First{n}",
                    "last_name": "Last",
                    "tags": [],
                    "custom_fields": {"city": "Cork"},
                }
                for n in range(start, min(start + 5000, recipients))
            ],
        )
    session.execute(
        insert(ClientListMember).from_select(
            ["client_list_id", "client_id"],
            select(literal(client_list.id), Client.id),
        )
    )
    return flow.id


def _open(session: Session, flow_id: int) -> int:
    execution: FlowExecution = insert_execution(session, session.get_one(Flow, flow_id))
    prepare_execution(session, execution.id, batch_sizes=dict.fromkeys(Channel, BATCH))
    return execution.id


@contextmanager
def _sink() -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.sink", str(port)])
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _row(name: str, recipients: int, seconds: float, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "recipients": recipients,
        "seconds": round(seconds, 2),
        "per_second": round(recipients / seconds),
        **more,
    }


def _print(rows: list[dict[str, object]]) -> None:
    table = Table("", "recipients", "seconds", "emails/s")
    for row in rows:
        table.add_row(*(str(row[key]) for key in ("name", "recipients", "seconds", "per_second")))
        print(json.dumps(row))
    Console().print(table)


if __name__ == "__main__":
    main()
