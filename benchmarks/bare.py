"""The bare limit: the same snapshot, reads, rendering and requests in a straight script, without any safety.

One UPDATE a batch says that it was sent. Nothing is claimed, no suppression is read again, no count is kept, nobody
can look, stop it or go on after a crash.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import httpx
from sqlalchemy import select, update

from benchmarks.measured import Row
from benchmarks.workload import EMAIL_BATCH, HTML, SMS, SUBJECT, open_execution
from db.engine import Database
from db.models import Client, Message
from db.states import MessageState
from settings import SendmodeProfile
from tasks.providers.sendgrid_payload import Envelope, Personalization, build_mail
from tasks.providers.sendmode_profiles import Sms, encode, profile_of
from tasks.templates.context import client_context
from tasks.templates.liquid import Part
from tasks.templates.personalization import (
    RenderFailed,
    TooLarge,
    compile_email,
    render_whole,
)

CONCURRENCY = 16


def email_at_the_limit(database: Database, sink: str, flow_id: int, recipients: int) -> Row:
    """Batches of 1,000, one after the other."""
    compiled = compile_email(SUBJECT, HTML, "")
    client = httpx.Client(trust_env=False)
    started = time.perf_counter()
    execution_id = database.run(lambda s: open_execution(s, flow_id))
    prepared = time.perf_counter()
    last = 0
    while rows := _read(database, execution_id, last, EMAIL_BATCH):
        people = []
        for key, address, _, first, last_name, custom in rows:
            values = compiled.render(_context(first, last_name, custom, "https://x"))
            if isinstance(values, RenderFailed | TooLarge):
                raise SystemExit(f"not rendered: {values}")
            people.append(Personalization(address, first, str(key), values, "https://x"))
        client.post(f"{sink}/v3/mail/send", content=build_mail(Envelope("a@x.example"), compiled, people))
        last = _mark(database, rows)
    ended = time.perf_counter()
    return Row("bare email", recipients, ended - started, {"snapshot_seconds": round(prepared - started, 2)})


def sms_at_the_limit(database: Database, sink: str, flow_id: int, recipients: int) -> Row:
    """One request a message, 16 at a time."""

    async def send_all() -> None:
        profile = profile_of(SendmodeProfile.V1)
        limits = httpx.Limits(max_connections=CONCURRENCY, max_keepalive_connections=CONCURRENCY)
        places = asyncio.Semaphore(CONCURRENCY)
        async with httpx.AsyncClient(trust_env=False, limits=limits) as client:

            async def send(sms: Sms) -> None:
                async with places:
                    await client.post(f"{sink}{profile.path}", content=encode(profile, sms))

            last = 0
            while rows := _read(database, execution_id, last, EMAIL_BATCH):
                texts = [render_whole(SMS, Part.SMS, _context(row[3], row[4], row[5], "")) for row in rows]
                await asyncio.gather(
                    *(
                        send(Sms(row[1], str(text), "Bench", str(row[0])))
                        for row, text in zip(rows, texts, strict=True)
                    )
                )
                last = _mark(database, rows)

    started = time.perf_counter()
    execution_id = database.run(lambda s: open_execution(s, flow_id))
    asyncio.run(send_all())
    return Row("bare SMS, concurrent", recipients, time.perf_counter() - started)


def one_request_each(sink: str, messages: int) -> Row:
    """Email the way most tools send it: one request a message, one after the other. No database at all."""
    compiled = compile_email(SUBJECT, HTML, "")
    client = httpx.Client(trust_env=False)
    started = time.perf_counter()
    for number in range(messages):
        values = compiled.render(_context(f"n{number}", "", {}, "https://x"))
        if isinstance(values, RenderFailed | TooLarge):
            raise SystemExit(f"not rendered: {values}")
        person = Personalization(f"c{number}@x.example", "", str(number), values, "https://x")
        client.post(f"{sink}/v3/mail/send", content=build_mail(Envelope("a@x.example"), compiled, [person]))
    return Row("one request each", messages, time.perf_counter() - started)


def _context(first: str, last: str, custom: object, url: str) -> dict[str, object]:
    return client_context({"first_name": first, "last_name": last, "custom_fields": custom}, url)


def _read(database: Database, execution_id: int, last: int, size: int) -> Sequence[tuple[Any, ...]]:
    with database.reading() as session:
        rows = session.execute(
            select(
                Message.id,
                Message.address,
                Client.id,
                Client.first_name,
                Client.last_name,
                Client.custom_fields,
            )
            .join(Client, Client.id == Message.client_id)
            .where(Message.execution_id + 0 == execution_id, Message.id > last)
            .order_by(Message.id)
            .limit(size)
        )
        return [tuple(row) for row in rows]


def _mark(database: Database, rows: Sequence[tuple[Any, ...]]) -> int:
    first_id, last_id = int(rows[0][0]), int(rows[-1][0])
    with database.transaction() as session:
        session.execute(
            update(Message)
            .where(Message.id.between(first_id, last_id))
            .values(state=MessageState.ACCEPTED)
            .execution_options(synchronize_session=False)
        )
    return last_id
