"""Figures of feedback: events committed and applied by one API process, beside the bare INSERT, and the same events again."""

import random
import time
from collections.abc import Callable, Iterator
from statistics import quantiles
from typing import Any

from sqlalchemy import func, select

from benchmarks.feedback.api_process import api_process
from benchmarks.feedback.bare import insert_at_the_limit
from benchmarks.feedback.events import PER_MESSAGE, Post, Signer, campaign_events, posts
from benchmarks.feedback.picture import picture
from benchmarks.feedback.posting import post_all
from benchmarks.measured import Row
from benchmarks.memory import watched
from benchmarks.workload import add_clients, add_flow, open_execution
from db.engine import Database
from db.models import Event, FlowExecution, Message
from db.queries import ledger
from db.queries.stats import get_counts
from db.queries.webhooks import count_unapplied
from db.states import Channel, MessageState

_AGAIN = 3


def measure(database_url: str, database: Database, events: int, note: Callable[[Row], None]) -> None:
    """From an empty database on."""
    recipients = round(events / PER_MESSAGE)
    execution_id = database.run(lambda s: _accepted_campaign(s, recipients))
    signer = Signer()
    with database.reading() as session:
        uid = session.get_one(FlowExecution, execution_id).uid
        rows = session.execute(
            select(Message.id, Message.address).where(Message.execution_id == execution_id)
        )
        messages = [(message_id, address or "") for message_id, address in rows]
    facts = campaign_events(uid, messages)
    with api_process(database_url, signer.public_key) as (port, pid):
        post_all(port, posts(signer, facts[:2000]))
        _wait(database)
        begun = _count(database)
        note(_apply(database, port, pid, posts(signer, facts[2000:]), "events committed and applied"))
        if _count(database) - begun != len(facts) - 2000:
            raise SystemExit("not every event was stored")
        note(_again(database, execution_id, port, signer, facts))
    note(_look(database, execution_id))
    note(insert_at_the_limit(database_url))


def feedback_verdicts(rows: list[Row]) -> Iterator[str]:
    by_name = {row.name: row for row in rows}
    ours, bare = by_name["events committed and applied"], by_name["bare INSERT of the events"]
    yield f"events/s committed and applied: {ours.per_second:,.0f} (goal 8,000)"
    yield f"of the bare INSERT: {ours.per_second / bare.per_second:.2f} (goal 0.4)"
    yield f"answer of a POST of 1,000 events, p99: {ours.more['p99_ms']} ms (goal 500)"
    yield f"again, shuffled, three times: {by_name['the same events again'].more['different']} differences (goal 0)"
    yield f"stats of the execution: {by_name['stats of the execution'].more['worst_ms']} ms (goal 20)"


def _accepted_campaign(session: Any, recipients: int) -> int:
    """An execution whose messages the provider has accepted, as its engine would leave it."""
    add_clients(session, recipients)
    flow_id = add_flow(session, "feedback", recipients, Channel.EMAIL)
    execution_id = open_execution(session, flow_id)
    accept_all(session, execution_id)
    return execution_id


def accept_all(session: Any, execution_id: int) -> None:
    """By the engine's own transitions, batch by batch."""
    while (batch := ledger.claim_batch(session, execution_id, lease_seconds=600)) is not None:
        ids = session.scalars(
            select(Message.id).where(
                Message.id.between(batch.first_message_id, batch.last_message_id),
                Message.execution_id == execution_id,
                Message.state == MessageState.PENDING,
            )
        ).all()
        ledger.commit_sending(session, batch, ready=ids, failed={}, excluded={}, lease_seconds=600)
        ledger.accept_batch(session, batch, f"bench-{batch.id}")


def _apply(database: Database, port: int, pid: int, waiting: list[Post], name: str) -> Row:
    with watched(pid) as peak:
        started = time.perf_counter()
        took = post_all(port, waiting)
        answered = time.perf_counter() - started
        _wait(database)
        seconds = time.perf_counter() - started
    return Row(
        name,
        sum(post.events for post in waiting),
        seconds,
        {
            "answered_seconds": round(answered, 2),
            "p50_ms": round(quantiles(took, n=100)[49] * 1000),
            "p99_ms": round(quantiles(took, n=100)[98] * 1000),
            "worst_ms": round(max(took) * 1000),
            "api_mb": round(peak.process),
        },
    )


def _again(database: Database, execution_id: int, port: int, signer: Signer, facts: list[Any]) -> Row:
    before = picture(database, execution_id)
    chance = random.Random(11)
    seconds = 0.0
    for _ in range(_AGAIN):
        chance.shuffle(facts)
        waiting = posts(signer, facts)
        started = time.perf_counter()
        post_all(port, waiting)
        _wait(database)
        seconds += time.perf_counter() - started
    after = picture(database, execution_id)
    different = sum(before[name] != after[name] for name in before)
    return Row("the same events again", _AGAIN * len(facts), seconds, {"different": different, **after})


def _look(database: Database, execution_id: int) -> Row:
    took = []
    for _ in range(50):
        started = time.perf_counter()
        with database.reading() as session:
            get_counts(session, execution_id)
            count_unapplied(session)
        took.append(time.perf_counter() - started)
    return Row(
        "stats of the execution",
        1,
        sum(took) / len(took),
        {"median_ms": round(sorted(took)[25] * 1000, 1), "worst_ms": round(max(took) * 1000, 1)},
    )


def _wait(database: Database) -> None:
    """Until the inbox is empty."""
    deadline = time.monotonic() + 600
    while True:
        with database.reading() as session:
            left = count_unapplied(session)
        if not left:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"{left} webhooks were not applied within ten minutes")
        time.sleep(0.02)


def _count(database: Database) -> int:
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Event)).one()
