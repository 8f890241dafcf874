"""I5: the same events give the same ledger, counts and suppressions, in whatever order, cut however into webhooks, however often.

All kinds of both providers, with copies, with ids that change or that two facts share, and without any.
"""

import random
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select, update

from db.engine import Database
from db.models import (
    Client,
    ClientListMember,
    ConsentChange,
    Event,
    FlowExecution,
    Message,
    SendmodeStats,
    Stats,
    StatsMinute,
    StatsReason,
    Unsubscribed,
    WebhookDelivery,
    WebhookEvent,
)
from db.queries import ledger
from db.queries.recount import recount, recount_minutes
from db.queries.stats import ACCEPTED_MINUTE, get_counts, list_minutes
from db.queries.webhooks import insert_delivery
from db.states import Channel
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.feedback.sources import Source
from tests.builders import add_campaign, prepared, to_sending
from tests.integration.test_feedback import NOW
from tests.integration.test_feedback_meaning import CHROME, several

MESSAGES = 2
_LINKS = ("https://x.example/1", "https://x.example/2")
_AGENTS = (CHROME, "Barracuda", None)
_CLASSES = ("Invalid Address", "Mailbox Unavailable", "Reputation", None)
_DROPS = ("Bounced Address", "Unsubscribed Address", "Spam Reporting Address", "Invalid", "Spam Content")
_PLAIN = (
    *("processed", "deferred", "delivered", "spamreport", "unsubscribe", "group_unsubscribe"),
    *("group_resubscribe", "account_status_change", "never heard of"),
)
_STATUSES = (
    *("DELIVRD", "DELIVERED", "DISPATCHED", "EXPIRED", "UNDELIV", "FAILED", "REJECTD", "REJECTED"),
    *("OPTED OUT - BLOCKED", "NEVER HEARD OF"),
)
_REPLIES = ("STOP", "start", "bus stop at 5?", "")

Fact = tuple[Source, dict[str, Any]]
"""What a provider says once. Events of SendGrid travel together, reports of Sendmode one by one."""


def facts_of_email() -> st.SearchStrategy[dict[str, Any]]:
    """Events without the execution's uid, which is known later; `run` and `message` are places."""
    own = st.one_of(
        st.sampled_from(_PLAIN).map(lambda kind: {"event": kind}),
        st.tuples(st.sampled_from(_AGENTS), st.booleans()).map(
            lambda pair: {"event": "open", "useragent": pair[0], "sg_machine_open": pair[1]}
        ),
        st.tuples(st.sampled_from(_AGENTS), st.sampled_from(_LINKS)).map(
            lambda pair: {"event": "click", "useragent": pair[0], "url": pair[1]}
        ),
        st.tuples(st.sampled_from(("bounce", "blocked")), st.sampled_from(_CLASSES)).map(
            lambda pair: {"event": "bounce", "type": pair[0], "bounce_classification": pair[1]}
        ),
        st.sampled_from(_DROPS).map(lambda reason: {"event": "dropped", "reason": reason}),
    )
    place = st.fixed_dictionaries(
        {
            "run": st.integers(0, 1),
            "message": st.integers(0, MESSAGES - 1),
            "at": st.integers(0, 4),
            "id": st.sampled_from(("own", "shared", "none")),
            "by": st.sampled_from(("reference", "reference", "batch", "stranger")),
        }
    )
    return st.tuples(place, own).map(lambda pair: pair[0] | pair[1])


def facts_of_sms() -> st.SearchStrategy[dict[str, Any]]:
    moment = st.integers(0, 3)
    message = st.integers(0, MESSAGES - 1)
    report = st.fixed_dictionaries({"message": message, "status": st.sampled_from(_STATUSES)})
    reply = st.fixed_dictionaries({"message": message, "command": st.sampled_from(_REPLIES), "at": moment})
    return st.one_of(report, reply)


class World:
    """Two emails and an SMS to each of some clients, and nothing said of them: after `forget` again."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.runs = several(database, clients=MESSAGES, times=2)
        self.sms, self.sms_ids = texted(database)
        self.before = self._rows(Stats, SendmodeStats)

    @property
    def executions(self) -> list[FlowExecution]:
        return [self.sms, *(execution for execution, _ in self.runs)]

    def email(self, fact: dict[str, Any]) -> Fact:
        execution, ids = self.runs[fact["run"]]
        place = fact["message"]
        said = {
            name: value
            for name, value in fact.items()
            if name not in ("run", "message", "at", "id", "by") and value is not None
        }
        said |= {"email": f"client{place}@example.com", "timestamp": NOW + fact["at"]}
        if fact["by"] == "reference":
            said["ics_message"] = f"{execution.uid}-{ids[place]}"
        elif fact["by"] == "batch":
            said["sg_message_id"] = f"X-{fact['run']}.recvd"
        else:
            said["email"] = "stranger@else.example"
        if fact["id"] == "own":
            # Of all that it says: a part of it could be the same in two facts of a kind, which would be copies.
            said["sg_event_id"] = sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()
        elif fact["id"] == "shared" and fact["event"] in _PLAIN:
            # Of one fact of each kind: two of a kind about one message, as two reasons of a drop, would be copies.
            said["sg_event_id"] = f"{fact['by']}{fact['at']}"
        return Source.SENDGRID, said

    def text(self, fact: dict[str, Any]) -> Fact:
        phone = f"35387{fact['message']:07d}"
        if "status" in fact:
            reference = f"{self.sms.uid}-{self.sms_ids[fact['message']]}"
            named = {"phonenumber": phone, "customerid": reference, "status": fact["status"]}
            # A report says that a station is passed and seldom when: of its copies the first one's minute stands.
            return Source.SENDMODE_DELIVERY, named | {"timestamp": NOW}
        said = {"mobilenumber": phone, "command": fact["command"], "timestamp": NOW + fact["at"]}
        return Source.SENDMODE_REPLY, said

    def tell(self, facts: Sequence[Fact], chance: random.Random) -> None:
        """Store them in this order, cut into webhooks at random, and apply them."""
        waiting: list[dict[str, Any]] = []

        def post() -> None:
            if waiting:
                self._store(Source.SENDGRID, orjson.dumps(waiting), "application/json")
                waiting.clear()

        for source, said in facts:
            if source is Source.SENDGRID:
                waiting.append(said)
            else:
                self._store(source, urlencode(said).encode(), "application/x-www-form-urlencoded")
            if chance.random() < 0.3:
                post()
            if chance.random() < 0.1:
                apply_waiting(self.database)
        post()
        apply_waiting(self.database)

    def picture(self) -> Any:
        """Everything that is promised, after checking that counts and minutes equal a recount."""
        with self.database.reading() as s:
            counts = []
            for execution in self.executions:
                counts.append(get_counts(s, execution.id))
                assert counts[-1] == recount(s, execution.id)
                minutes = list_minutes(s, execution.id)
                told = {key: count for key, count in minutes.items() if key[1] != ACCEPTED_MINUTE}
                assert told == recount_minutes(s, execution.id)
                counts.append(told)  # type: ignore[arg-type]
            events = select(Event.fingerprint, Event.kind, Event.message_id, Event.occurred_at)
            suppressed = select(
                *(Unsubscribed.channel, Unsubscribed.address, Unsubscribed.reason),
                *(Unsubscribed.active, Unsubscribed.effective_at),
            )
            ledger = select(Message.id, Message.state, Message.feedback)
            return counts, [sorted(map(repr, s.execute(query))) for query in (events, suppressed, ledger)]

    def forget(self) -> None:
        def work(session: Any) -> None:
            for model in (
                *(Event, WebhookEvent, WebhookDelivery, Unsubscribed, ConsentChange),
                *(StatsReason, StatsMinute, Stats, SendmodeStats),
            ):
                session.execute(delete(model))
            session.execute(update(Message).values(feedback=0))
            for model, rows in self.before:
                session.execute(model.__table__.insert(), rows)

        self.database.run(work)

    def _rows(self, *models: Any) -> list[tuple[Any, list[dict[str, Any]]]]:
        with self.database.reading() as s:
            return [
                (model, [dict(row) for row in s.execute(select(model.__table__)).mappings()])
                for model in models
            ]

    def _store(self, source: Source, body: bytes, content_type: str) -> None:
        self.database.run(lambda s: insert_delivery(s, source=source, body=body, content_type=content_type))


def texted(database: Database) -> tuple[FlowExecution, list[int]]:
    """An accepted SMS to each client there is."""

    def prepare(session: Any) -> FlowExecution:
        campaign = add_campaign(session, channel=Channel.SMS, name="Text")
        for client_id in session.scalars(select(Client.id)).all():
            session.add(ClientListMember(client_list_id=campaign.client_list.id, client_id=client_id))
        session.flush()
        return prepared(session, campaign)

    execution = database.run(prepare)
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    ids = sorted(database.run(lambda s: to_sending(s, batch)))
    accepted = dict.fromkeys(ids, "1")
    database.run(
        lambda s: ledger.record_sms(
            s, batch, accepted=accepted, failed={}, unknown=[], retry_delay=0, error=None
        )
    )
    return execution, ids


@pytest.fixture
def world(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("ICS_SOFT_BOUNCES", "2")
    monkeypatch.setenv("ICS_SCANNER_LINKS", "2")
    monkeypatch.setenv("ICS_SCANNER_SECONDS", "3")
    get_settings.cache_clear()
    return World(Database(engine))


@given(
    emails=st.lists(facts_of_email(), min_size=15, max_size=30),
    texts=st.lists(facts_of_sms(), max_size=8),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
def test_order_and_copies_change_nothing(
    world: World, emails: list[dict[str, Any]], texts: list[dict[str, Any]], seed: int
) -> None:
    chance = random.Random(seed)
    facts = [*map(world.email, emails), *map(world.text, texts)]
    world.forget()
    world.tell(facts, chance)
    expected = world.picture()
    # Again, on top of themselves.
    more = facts * 2
    chance.shuffle(more)
    world.tell(more, chance)
    assert world.picture() == expected
    # And from the beginning, in another order.
    world.forget()
    chance.shuffle(facts)
    more = facts + chance.sample(facts, len(facts) // 2)
    world.tell(more, chance)
    assert world.picture() == expected
