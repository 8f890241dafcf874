"""Webhooks: only signed bytes are stored; what is stored is applied once; order and copies change nothing."""

import base64
import random
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, and_, func, select
from sqlalchemy.event import listen

from db.engine import Database, get_database
from db.migrate import downgrade, upgrade
from db.models import (
    ConsentChange,
    Event,
    FlowExecution,
    Message,
    Unsubscribed,
    WebhookDelivery,
    WebhookEvent,
)
from db.queries import ledger, webhooks
from db.queries.recount import recount, recount_minutes
from db.queries.stats import ACCEPTED_MINUTE, Counts, get_counts, list_minutes
from db.queries.suppressions import is_suppressed
from db.queries.tokens import create_token
from db.states import Channel, Feedback, InboxState, WebhookProblem
from settings import get_settings
from tasks.feedback.apply import apply_waiting
from tasks.feedback.sources import Source
from tasks.feedback.unsubscribe_links import unsubscribe_url
from tasks.signing import secret_key
from tests.builders import add_campaign, prepared, to_sending

SECRET = "sendmode-secret"
NOW = 1_790_000_000


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def client(
    app: FastAPI, engine: Engine, key: ec.EllipticCurvePrivateKey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    old = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = old.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    keys = ",".join(base64.b64encode(each).decode() for each in (other, der))
    monkeypatch.setenv("SENDGRID_WEBHOOK_PUBLIC_KEYS", keys)
    monkeypatch.setenv("SENDMODE_WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    with TestClient(app) as client:
        yield client


@pytest.fixture
def database(client: TestClient) -> Database:
    return get_database()


def sent(
    database: Database, *, clients: int = 4, channel: Channel = Channel.EMAIL
) -> tuple[FlowExecution, list[int]]:
    """An execution whose one batch was accepted."""
    execution = database.run(lambda s: prepared(s, add_campaign(s, clients=clients, channel=channel)))
    batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
    assert batch is not None
    ids = sorted(database.run(lambda s: to_sending(s, batch)))
    if channel is Channel.EMAIL:
        database.run(lambda s: ledger.accept_batch(s, batch, "X-1"))
    else:
        accepted = dict.fromkeys(ids, "1")
        database.run(
            lambda s: ledger.record_sms(
                s, batch, accepted=accepted, failed={}, unknown=[], retry_delay=0, error=None
            )
        )
    return execution, ids


def applied(database: Database) -> None:
    """Return when the application has applied all that it has acknowledged."""
    deadline = time.monotonic() + 20
    while True:
        with database.reading() as s:
            waiting = webhooks.count_unapplied(s)
        if not waiting:
            return
        assert time.monotonic() < deadline, f"{waiting} webhooks were not applied"
        time.sleep(0.01)


def event(execution: FlowExecution, message_id: int, kind: str, at: int = 0, **more: Any) -> dict[str, Any]:
    number = message_id - 1
    return {
        "email": f"client{number}@example.com",
        "timestamp": NOW + at,
        "event": kind,
        "sg_event_id": f"{kind}-{message_id}-{at}",
        "ics_message": f"{execution.uid}-{message_id}",
        **more,
    }


def post_events(
    client: TestClient, key: ec.EllipticCurvePrivateKey, events: list[Any], *, at: float | None = None
) -> Any:
    """As SendGrid posts: events apart by a comma and a line break, a line break at the end, signed as they are."""
    body = b"[" + b",\r\n".join(orjson.dumps(each) for each in events) + b"]\r\n"
    timestamp = str(int(time.time() if at is None else at))
    signature = base64.b64encode(key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()
    headers = {
        "X-Twilio-Email-Event-Webhook-Signature": signature,
        "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        "Content-Type": "application/json",
    }
    return client.post("/webhooks/sendgrid", content=body, headers=headers)


def store(database: Database, events: list[Any]) -> None:
    database.run(lambda s: webhooks.insert_delivery(s, source=Source.SENDGRID, body=orjson.dumps(events)))


def picture(database: Database, execution: FlowExecution) -> Any:
    """Everything that events may change, after checking that stats equal a recount (I6)."""
    with database.reading() as s:
        counts = get_counts(s, execution.id)
        assert counts == recount(s, execution.id)
        messages = s.execute(select(Message.id, Message.state, Message.feedback).order_by(Message.id)).all()
        suppressed = s.execute(
            select(
                Unsubscribed.address, Unsubscribed.reason, Unsubscribed.active, Unsubscribed.effective_at
            ).order_by(Unsubscribed.address, Unsubscribed.reason)
        ).all()
        events = s.scalar(select(func.count()).select_from(Event))
        said = s.execute(
            select(
                ConsentChange.client_id, ConsentChange.consent, ConsentChange.source, ConsentChange.given_at
            )
        ).all()
    words = sorted(tuple(row) for row in said)
    return counts, [tuple(row) for row in messages], [tuple(row) for row in suppressed], events, words


def count_stored(database: Database) -> int:
    with database.reading() as s:
        return s.scalar(select(func.count()).select_from(WebhookDelivery)) or 0


def test_signed_events_reach_ledger_stats_and_suppressions(
    client: TestClient, database: Database, key: ec.EllipticCurvePrivateKey
) -> None:
    execution, ids = sent(database)
    events = [event(execution, each, "delivered") for each in ids[:3]]
    events += [
        event(execution, ids[0], "open", 1, sg_machine_open=True),
        event(execution, ids[1], "click", 2, url="https://shop.example.com"),
        event(execution, ids[3], "bounce", 1, type="bounce", bounce_classification="Invalid Address"),
    ]
    assert post_events(client, key, events).status_code == 204
    applied(database)
    counts, messages, suppressed, stored, said = picture(database, execution)
    assert said == []  # A bounce is nobody's word.
    numbers = {
        name: counts.messages[name]
        for name in ("delivered", "opened", "machine_opened", "clicked", "bounced")
    }
    assert numbers == {"delivered": 3, "opened": 0, "machine_opened": 1, "clicked": 1, "bounced": 1}
    assert messages[0][2] == Feedback.DELIVERED | Feedback.MACHINE_OPENED
    assert [row[:3] for row in suppressed] == [("client3@example.com", "bounce", True)]
    assert stored == 6
    assert {(kind, message) for _, kind, message in events_of_clients(database)} == {
        *(("delivered", each) for each in ids[:3]),
        ("machine_open", ids[0]),
        ("click", ids[1]),
        ("bounce", ids[3]),
    }


def test_an_unsigned_or_wrongly_signed_webhook_writes_nothing(
    client: TestClient, database: Database, key: ec.EllipticCurvePrivateKey
) -> None:
    forger = ec.generate_private_key(ec.SECP256R1())
    assert client.post("/webhooks/sendgrid", content=b"[]").status_code == 401
    assert post_events(client, forger, []).status_code == 403
    assert post_events(client, key, [], at=time.time() - 3 * 86400).status_code == 403
    headers = {"X-Sendmode-Signature": "00", "X-Sendmode-Timestamp": str(int(time.time()))}
    assert client.post("/webhooks/sendmode/delivery", content=b"{}", headers=headers).status_code == 403
    assert client.get("/webhooks/sendmode/reply?mobilenumber=1").status_code == 401
    assert client.post("/webhooks/sendmode/delivery/wrong", content=b"{}").status_code == 403
    assert count_stored(database) == 0


def test_one_unreadable_event_holds_up_no_other(
    client: TestClient, database: Database, key: ec.EllipticCurvePrivateKey
) -> None:
    execution, ids = sent(database)
    strange: list[Any] = [
        "text",
        7,
        None,
        {"event": "delivered"},
        {"event": "never heard of", "timestamp": NOW},
    ]
    assert post_events(client, key, [*strange, event(execution, ids[0], "delivered")]).status_code == 204
    applied(database)
    counts, *_ = picture(database, execution)
    assert counts.messages["delivered"] == 1
    with database.reading() as s:
        kept = s.scalars(select(WebhookEvent.problem)).all()
        assert kept == [WebhookProblem.UNREADABLE] * 4


@pytest.mark.parametrize("seed", range(3))
def test_any_order_and_any_number_of_copies_give_the_same(engine: Engine, seed: int) -> None:
    """I5, on a real database: events shuffled, cut into webhooks, some of them several times."""
    database = Database(engine)
    chance = random.Random(seed)
    execution, ids = sent(database, clients=6)
    kinds = [
        "processed",
        "deferred",
        "delivered",
        "open",
        "click",
        "spamreport",
        "unsubscribe",
        "group_resubscribe",
    ]
    events = [
        event(execution, each, kind, at, url="https://a.example" if kind == "click" else None)
        for each in ids
        for at, kind in enumerate(chance.sample(kinds, 5))
    ]
    store(database, events)
    apply_waiting(database)
    expected = picture(database, execution)
    assert len(expected[4]) == sum(each["event"] in kinds[5:] for each in events)
    for _ in range(3):
        again = events * 2
        chance.shuffle(again)
        for start in range(0, len(again), 7):
            store(database, again[start : start + 7])
        apply_waiting(database)
        assert picture(database, execution) == expected


def test_events_of_another_installation_or_of_nobody_change_no_message(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    before = picture(database, execution)
    strangers = [
        event(execution, ids[0], "delivered") | {"ics_message": f"zzzzzzzzzzzz-{ids[0]}"},
        event(execution, ids[0], "delivered", 1) | {"ics_message": f"{execution.uid}-999999"},
        event(execution, ids[0], "delivered", 2) | {"ics_message": "rubbish"},
    ]
    store(database, strangers)
    apply_waiting(database)
    after = picture(database, execution)
    assert after[:3] == before[:3]


def test_a_webhook_that_cannot_be_applied_is_kept_and_holds_up_no_other(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database)
    database.run(lambda s: webhooks.insert_delivery(s, source="no such source", body=b"{}"))
    store(database, [event(execution, ids[0], "delivered")])
    assert apply_waiting(database) == 1
    assert picture(database, execution)[0].messages["delivered"] == 1
    with database.reading() as s:
        failed = s.scalars(select(WebhookDelivery).where(WebhookDelivery.state == InboxState.FAILED)).one()
    assert failed.error == "ValueError while applying"


@pytest.mark.parametrize("status", ["DELIVRD", "UNDELIV", "EXPIRED", "REJECTD"])
def test_sendmode_reports_are_read_however_they_come(
    client: TestClient, database: Database, status: str
) -> None:
    execution, ids = sent(database, channel=Channel.SMS)
    reference = f"{execution.uid}-{ids[0]}"
    answers = [
        client.get(
            f"/webhooks/sendmode/delivery/{SECRET}",
            params={"EVENTID": "1", "PHONENUMBER": "353870000000", "STATUS": status, "CUSTOMERID": reference},
        ),
        client.post(
            f"/webhooks/sendmode/delivery/{SECRET}",
            data={"eventid": "1", "phonenumber": "353870000000", "status": status, "customerid": reference},
        ),
        client.post(
            f"/webhooks/sendmode/delivery/{SECRET}",
            json={"EventID": 1, "Phonenumber": "353870000000", "Status": status, "CustomerID": reference},
        ),
    ]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "True")] * 3
    applied(database)
    counts, *_ = picture(database, execution)
    column = {"DELIVRD": "delivered", "UNDELIV": "undelivered", "EXPIRED": "expired", "REJECTD": "rejected"}[
        status
    ]
    assert counts.sms[column] == 1


def test_stop_suppresses_sms_and_start_lifts_it(client: TestClient, database: Database) -> None:
    execution, _ = sent(database, channel=Channel.SMS)
    phone = "+353870000000"

    def reply(text: str) -> None:
        answer = client.post(
            f"/webhooks/sendmode/reply/{SECRET}",
            json={"mobilenumber": "353870000000", "command": text, "sentto": "Shop"},
        )
        assert answer.text == "True"
        applied(database)

    def is_stopped() -> bool:
        with database.reading() as s:
            return is_suppressed(s, Channel.SMS, phone)

    reply("bus stop at 5?")
    assert not is_stopped()
    reply(" Stop ")
    assert is_stopped()
    counts, *_ = picture(database, execution)
    assert (counts.sms["replied"], counts.sms["opted_out"]) == (1, 1)
    reply("START")
    assert not is_stopped()
    assert words_of(database) == [
        ("denied", "stop: sendmode opt_out"),
        ("granted", "stop lifted: sendmode opt_in"),
    ]


def test_an_unsubscribe_link_changes_nothing_until_it_is_posted(
    client: TestClient, database: Database
) -> None:
    execution, ids = sent(database)
    link = unsubscribe_url("", secret_key(get_settings()), f"{execution.uid}-{ids[0]}")

    def is_out() -> bool:
        with database.reading() as s:
            return is_suppressed(s, Channel.EMAIL, "client0@example.com")

    assert client.get(link).status_code == 200
    assert not is_out()
    assert client.post(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 404
    assert not is_out()
    one_click = {"List-Unsubscribe": "One-Click"}
    assert client.post(link, data=one_click).status_code == 200
    assert client.post(link, files={"List-Unsubscribe": (None, "One-Click")}).status_code == 200
    assert is_out()
    counts, *_ = picture(database, execution)
    assert counts.messages["unsubscribed"] == 1
    # However often the link is followed, it is one word of the client's.
    assert words_of(database) == [("denied", "one_click: unsubscribe link")]
    # Segments find it as an event of the client, once.
    assert events_of_clients(database) == [("ics", "unsubscribe", ids[0])]


def test_only_the_client_says_yes_again_and_not_who_lifts_the_suppression(
    client: TestClient, database: Database
) -> None:
    execution, ids = sent(database)
    link = unsubscribe_url("", secret_key(get_settings()), f"{execution.uid}-{ids[0]}")
    secret = database.run(lambda s: create_token(s, "ada"))[0]
    client.headers["Authorization"] = f"Bearer {secret}"
    for _ in range(2):
        assert client.post(link).status_code == 200
        [found] = client.get("/api/unsubscribed").json()["items"]
        assert client.delete(f"/api/unsubscribed/{found['id']}").status_code == 204
    # Unsubscribed again after it was lifted is said again.
    assert words_of(database) == [("denied", "one_click: unsubscribe link")] * 2
    store(
        database, [event(execution, ids[0], "unsubscribe"), event(execution, ids[0], "group_resubscribe", 1)]
    )
    apply_waiting(database)
    assert words_of(database)[2:] == [
        ("denied", "unsubscribe: sendgrid unsubscribe"),
        ("granted", "unsubscribe lifted: sendgrid group_resubscribe"),
    ]


def test_what_many_say_at_once_is_logged_in_as_many_statements_as_for_one(engine: Engine) -> None:
    database = Database(engine)
    execution, ids = sent(database, clients=40)
    statements: list[str] = []
    listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    def logging(some: list[int]) -> int:
        store(database, [event(execution, each, "spamreport") for each in some])
        statements.clear()
        apply_waiting(database)
        return sum("consent_log" in each or "clients.email IN" in each for each in statements)

    assert logging(ids[:1]) == logging(ids[1:]) == 3
    assert len(words_of(database)) == 40


def words_of(database: Database) -> list[tuple[str, str]]:
    """Consent and source of what is in the log, in the order it was written."""
    with database.reading() as s:
        rows = s.execute(select(ConsentChange.consent, ConsentChange.source).order_by(ConsentChange.id))
        return [(row[0], row[1]) for row in rows]


def events_of_clients(database: Database) -> list[tuple[str, str, int | None]]:
    """Provider, kind and message of the events, where their client is that of the message; in the order they came."""
    with database.reading() as s:
        rows = s.execute(
            select(Event.provider, Event.kind, Event.message_id)
            .join(Message, and_(Message.id == Event.message_id, Message.client_id == Event.client_id))
            .order_by(Event.id)
        )
        return [(row[0], row[1], row[2]) for row in rows]


def test_the_migration_counts_what_came_before_it(database_url: str, engine: Engine) -> None:
    """Opens, reasons and minutes are those that a recount of the older events gives; what was accepted keeps its number."""
    database = Database(engine)
    execution, ids = sent(database)
    spam_trap = {"type": "blocked", "bounce_classification": "Reputation"}
    facts = [event(execution, each, "delivered", 3) for each in ids[:2]]
    facts += [event(execution, ids[0], "open", at) for at in (60, 61, 200)]
    facts += [event(execution, ids[0], "open", 70, sg_machine_open=True)]
    facts += [event(execution, ids[1], "click", 90, url="https://x.example")]
    facts += [event(execution, ids[2], "bounce", 5, **spam_trap)]
    facts += [event(execution, ids[3], "dropped", 5, reason="Bounced Address")]
    store(database, facts)
    apply_waiting(database)
    before = counted(database, execution)
    downgrade(database_url, "0051")
    upgrade(database_url)
    after = counted(database, execution)
    assert after == before
    assert before[0].reasons == {"blocked": {"reputation": 1}, "dropped": {"bounced_address": 1}}
    assert before[0].messages["opens"] == 3


def counted(database: Database, execution: FlowExecution) -> tuple[Counts, dict[str, int]]:
    """Counts, checked against a recount, and the events of each kind in all minutes together."""
    with database.reading() as s:
        counts = get_counts(s, execution.id)
        assert counts == recount(s, execution.id)
        minutes = list_minutes(s, execution.id)
        of_events = {key: count for key, count in minutes.items() if key[1] != ACCEPTED_MINUTE}
        assert of_events == recount_minutes(s, execution.id)
    by_kind: dict[str, int] = {}
    for (_, kind), count in minutes.items():
        by_kind[kind] = by_kind.get(kind, 0) + count
    return counts, by_kind
