"""The inbox: what it has taken is committed, and what arrives together is committed together."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from typing import Any

import pytest
from sqlalchemy import Engine, func, select

from db.engine import Database
from db.models import WebhookDelivery
from db.queries.webhooks import NewDelivery
from tasks.feedback import inbox as inboxes
from tasks.feedback.inbox import Inbox, InboxFull, NotStored
from tests.builders import heard


def count(database: Database) -> int:
    with database.reading() as s:
        return s.scalar(select(func.count()).select_from(WebhookDelivery)) or 0


@contextmanager
def running(database: Database) -> Iterator[Inbox]:
    inbox = Inbox(database)
    inbox.start()
    try:
        yield inbox
    finally:
        inbox.stop()


class Held(Database):
    """A database that lets a transaction begin only when it is told to, or fails."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.may_go = Flag()
        self.error: Exception | None = None

    def run(self, work: Callable[[Any], Any]) -> Any:
        self.may_go.wait()
        if self.error is not None:
            raise self.error
        return super().run(work)


def test_what_arrives_together_is_committed_together(engine: Engine) -> None:
    database = Held(engine)

    async def post_all(inbox: Inbox) -> None:
        posts = [asyncio.create_task(inbox.store(NewDelivery("sendgrid", b"[%d]" % n))) for n in range(50)]
        await asyncio.sleep(0)
        database.may_go.set()
        await asyncio.gather(*posts)
        assert count(database) == 50

    with heard(engine, "commit") as commits, running(database) as inbox:
        asyncio.run(post_all(inbox))
    # The first one may have been taken alone, before the others came.
    assert len(commits) <= 2
    with database.reading() as s:
        rows = s.execute(
            select(WebhookDelivery.body, WebhookDelivery.size).order_by(WebhookDelivery.id)
        ).all()
    assert sorted(bytes(row[0]) for row in rows) == sorted(b"[%d]" % n for n in range(50))
    assert all(size == len(body) for body, size in rows)


def test_nothing_is_promised_while_the_database_is_away(engine: Engine) -> None:
    database = Held(engine)
    database.error = RuntimeError("away")
    database.may_go.set()

    async def post(inbox: Inbox) -> None:
        with pytest.raises(NotStored):
            await inbox.store(NewDelivery("sendgrid", b"[]"))
        database.error = None
        await inbox.store(NewDelivery("sendgrid", b"[]"))

    with running(database) as inbox:
        asyncio.run(post(inbox))
    assert count(database) == 1


def test_more_than_there_is_room_for_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "MOST_WAITING_BYTES", 100)
    database = Held(engine)

    async def post(inbox: Inbox) -> None:
        first = [asyncio.create_task(inbox.store(NewDelivery("sendgrid", b"x" * 80))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(InboxFull):
            await inbox.store(NewDelivery("sendgrid", b"x"))
        database.may_go.set()
        await asyncio.gather(*first, return_exceptions=True)
        await inbox.store(NewDelivery("sendgrid", b"x"))

    with running(database) as inbox:
        asyncio.run(post(inbox))
    assert count(database) >= 2


def test_what_waits_is_committed_before_the_process_ends(engine: Engine) -> None:
    database = Held(engine)

    async def post(inbox: Inbox) -> None:
        posts = [asyncio.create_task(inbox.store(NewDelivery("sendgrid", b"[]"))) for _ in range(5)]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(asyncio.to_thread(inbox.stop))
        await asyncio.sleep(0.01)
        database.may_go.set()
        await asyncio.gather(*posts)
        await stopping

    inbox = Inbox(database)
    inbox.start()
    asyncio.run(post(inbox))
    assert count(database) == 5


def test_who_goes_away_before_the_answer_loses_nothing(engine: Engine) -> None:
    database = Held(engine)

    async def post(inbox: Inbox) -> None:
        waiting = asyncio.create_task(inbox.store(NewDelivery("sendgrid", b"[]")))
        await asyncio.sleep(0.01)
        waiting.cancel()
        database.may_go.set()
        await inbox.store(NewDelivery("sendgrid", b"[]"))

    with running(database) as inbox:
        asyncio.run(post(inbox))
    assert count(database) == 2
