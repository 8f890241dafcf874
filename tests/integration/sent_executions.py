"""Executions that were accepted, and what providers say about their messages."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from db.engine import Database
from db.queries import ledger, webhooks
from db.states import Channel
from tasks.feedback.apply import apply_waiting
from tasks.feedback.sources import Source
from tests.builders import Campaign, prepared, to_sending

NOW = 1_790_000_000
"""2026-09-21 14:13:20 UTC."""


@dataclass(frozen=True)
class Sent:
    """An execution whose messages were all accepted, in the order of its clients."""

    id: int
    uid: str
    flow_id: int
    ids: Sequence[int]

    def event(self, place: int, kind: str, at: int = 0, **more: Any) -> dict[str, Any]:
        """What SendGrid says about the message in this place, `at` seconds after `NOW`."""
        return {
            "email": f"client{place}@example.com",
            "timestamp": NOW + at,
            "event": kind,
            "sg_event_id": f"{kind}-{self.ids[place]}-{at}-{more.get('url', '')}"[:100],
            "ics_message": f"{self.uid}-{self.ids[place]}",
            **more,
        }


def send_all(database: Database, campaign: Campaign, *, parts: int = 1) -> Sent:
    """A new execution of the campaign in one batch, which is accepted."""
    execution = database.run(lambda s: prepared(s, campaign))
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    ids = sorted(database.run(lambda s: to_sending(s, batch)))
    if batch.channel is Channel.EMAIL:
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
    else:
        database.run(
            lambda s: ledger.record_sms(
                s,
                batch,
                accepted=dict.fromkeys(ids, "1"),
                failed={},
                unknown=[],
                retry_delay=0,
                error=None,
            )
        )
    return Sent(execution.id, execution.uid, execution.flow_id, ids)


def report(database: Database, *webhook: Sequence[dict[str, Any]]) -> None:
    """Webhooks of SendGrid come in, one after the other, and are applied; an application that runs may do a part of it."""
    deadline = time.monotonic() + 20
    for events in webhook:
        body = orjson.dumps(list(events))
        database.run(partial(webhooks.insert_delivery, source=Source.SENDGRID, body=body))
        while _is_waiting(database):
            assert time.monotonic() < deadline, "webhooks were not applied"
            apply_waiting(database)


def _is_waiting(database: Database) -> bool:
    with database.reading() as session:
        return webhooks.count_unapplied(session) > 0
