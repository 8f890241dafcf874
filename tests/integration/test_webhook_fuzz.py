"""Signed webhooks with anything in them: taken, applied or listed, and the next good event is applied as if nothing had been."""

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis
import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, func, select

from db.engine import Database, get_database
from db.models import FlowExecution, Message, WebhookDelivery, WebhookEvent
from db.queries import ledger
from db.queries.recount import recount
from db.queries.stats import get_counts
from db.states import Channel, Feedback, InboxState, WebhookProblem
from sandbox.keys import sign_events, sign_report
from settings import get_settings
from tests.builders import add_campaign, prepared, to_sending

SECRET = "sendmode-secret"
NOW = 1_790_000_000
KINDS = [
    "processed",
    "deferred",
    "delivered",
    "bounce",
    "dropped",
    "open",
    "click",
    "spamreport",
    "unsubscribe",
    "group_unsubscribe",
    "group_resubscribe",
    "account_status_change",
]
HUGE = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 1e308, -1e-308, 1.5, NOW + 0.5, 253402300800)
ODD_TEXT = (
    "",
    "\x00",
    "a\x00b",
    "é" * 300,
    "\U0001f4a5" * 200,
    "x" * 70_000,
    "\u2028",
    "%00",
    "' OR 1=1 --",
    "\r\n",
)
TEXT = st.sampled_from(ODD_TEXT) | st.text(max_size=50)
LEAVES = st.none() | st.booleans() | st.sampled_from(HUGE) | st.integers(-(2**70), 2**70) | TEXT
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=8
)
FIELDS = [
    "email",
    "timestamp",
    "event",
    "sg_event_id",
    "sg_message_id",
    "ics_message",
    "url",
    "url_offset",
    "reason",
    "response",
    "type",
    "status",
    "bounce_classification",
    "sg_machine_open",
    "category",
    "useragent",
    "ip",
    "asm_group_id",
]
# A quarter of the profile's: an example is a webhook. `--hypothesis-profile=search` looks for more.
EXAMPLES = hypothesis.settings(
    max_examples=hypothesis.settings().max_examples // 4,
    suppress_health_check=list(hypothesis.HealthCheck),
)


class Provider:
    """SendGrid and Sendmode, posting to the API in this process."""

    def __init__(self, client: TestClient, key: ec.EllipticCurvePrivateKey) -> None:
        self._client = client
        self._key = key

    def post(self, body: bytes) -> int:
        """Signed as SendGrid does; the status of the answer."""
        now = str(int(time.time()))
        prefix = "X-Twilio-Email-Event-Webhook"
        headers = {f"{prefix}-Signature": sign_events(self._key, now, body), f"{prefix}-Timestamp": now}
        return int(self._client.post("/webhooks/sendgrid", content=body, headers=headers).status_code)

    def report(self, kind: str, body: bytes, content_type: str = "") -> int:
        """Signed as Sendmode's are."""
        now = str(int(time.time()))
        headers = {"X-Sendmode-Signature": sign_report(SECRET, now, body), "X-Sendmode-Timestamp": now}
        if content_type:
            headers["Content-Type"] = content_type
        return int(self._client.post(f"/webhooks/sendmode/{kind}", content=body, headers=headers).status_code)

    def call(self, kind: str, query: str) -> int:
        """A GET with the secret in its path."""
        return int(self._client.get(f"/webhooks/sendmode/{kind}/{SECRET}?{query}").status_code)


@pytest.fixture
def provider(app: FastAPI, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    key = ec.generate_private_key(ec.SECP256R1())
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    monkeypatch.setenv("SENDGRID_WEBHOOK_PUBLIC_KEYS", base64.b64encode(der).decode())
    monkeypatch.setenv("SENDMODE_WEBHOOK_SECRET", SECRET)
    get_settings.cache_clear()
    with TestClient(app) as client:
        yield Provider(client, key)


@pytest.fixture
def database(provider: Provider) -> Database:
    return get_database()


def sent(database: Database, channel: Channel = Channel.EMAIL) -> tuple[FlowExecution, list[int]]:
    """An execution whose messages were accepted."""
    campaign = database.run(lambda s: add_campaign(s, clients=4, channel=channel))
    execution = database.run(lambda s: prepared(s, campaign))
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


def real(execution: FlowExecution, message_id: int, kind: str, **more: Any) -> dict[str, Any]:
    """An event as SendGrid reports it."""
    return {
        "email": "client1@example.com",
        "timestamp": NOW,
        "event": kind,
        "sg_event_id": f"{kind}-{message_id}",
        "sg_message_id": "X-1.filter",
        "ics_message": f"{execution.uid}-{message_id}",
        **more,
    }


def settled(database: Database) -> None:
    """Return when the inbox is empty; fails when a webhook could not be applied."""
    deadline = time.monotonic() + 120
    while True:
        with database.reading() as s:
            rows = s.execute(
                select(WebhookDelivery.state, func.count()).group_by(WebhookDelivery.state)
            ).all()
        states = dict(row._tuple() for row in rows)
        assert InboxState.FAILED not in states, states
        if not states.get(InboxState.RECEIVED):
            return
        assert time.monotonic() < deadline, states
        time.sleep(0.02)


def problems(database: Database) -> dict[WebhookProblem, int]:
    with database.reading() as s:
        rows = s.execute(select(WebhookEvent.problem, func.count()).group_by(WebhookEvent.problem))
        return dict(rows.tuples().all())


def is_well(provider: Provider, database: Database, execution: FlowExecution, message_id: int) -> None:
    """Nothing failed, the counts are right, and a good event is applied."""
    assert WebhookProblem.FAILED not in problems(database)
    assert provider.post(orjson.dumps([real(execution, message_id, "delivered", sg_event_id="last")])) == 204
    settled(database)
    with database.reading() as s:
        message = s.get_one(Message, message_id)
        assert Feedback.DELIVERED in Feedback(message.feedback)
        assert get_counts(s, execution.id) == recount(s, execution.id)


@pytest.mark.slow
def test_events_with_other_fields_and_types_hold_up_nothing(provider: Provider, database: Database) -> None:
    execution, ids = sent(database)
    changes = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4)
    left_out = st.sets(st.sampled_from(FIELDS), max_size=3)
    mutated = st.tuples(st.sampled_from(KINDS), st.sampled_from(ids), changes, left_out)

    @EXAMPLES
    @given(st.lists(mutated, min_size=1, max_size=15), st.lists(VALUES, max_size=3))
    def run(events: list[Any], odd: list[Any]) -> None:
        items = []
        for kind, message_id, changed, gone in events:
            event = real(execution, message_id, kind) | changed
            items.append({name: value for name, value in event.items() if name not in gone})
        assert provider.post(dumps([*items, *odd])) == 204

    run()
    settled(database)
    is_well(provider, database, execution, ids[-1])


@pytest.mark.slow
def test_bodies_with_other_bytes_hold_up_nothing(provider: Provider, database: Database) -> None:
    execution, ids = sent(database)
    whole = orjson.dumps([real(execution, ids[0], kind) for kind in KINDS])
    places = st.integers(0, len(whole) - 1)
    edits = st.lists(st.tuples(places, places, st.binary(max_size=4)), min_size=1, max_size=4)

    @EXAMPLES
    @given(edits | st.binary(max_size=60).map(lambda body: [(0, len(whole), body)]))
    def run(edits: list[tuple[int, int, bytes]]) -> None:
        body = whole
        for place, length, put in edits:
            body = body[:place] + put + body[place + length % 40 :]
        assert provider.post(body) == 204

    run()
    settled(database)
    is_well(provider, database, execution, ids[-1])


DEEP = 200_000
EXTREMES = {
    "nothing": b"",
    "a line break": b"\r\n",
    "a number": b"7",
    "null": b"null",
    "an empty list": b"[]",
    "an empty event": b"[{}]",
    "not a number": b"[NaN, Infinity, -Infinity]",
    "deep lists": b"[" * DEEP,
    "deep lists that end": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'[{"a":' * DEEP,
    "a deep field": b'[{"event":"open","timestamp":1790000000,"url_offset":'
    + b"[" * 900
    + b"]" * 900
    + b"}]",
    "a deep category": b'[{"event":"open","timestamp":1790000000,"category":'
    + b'{"a":' * 250
    + b"1"
    + b"}" * 250
    + b"}]",
    "a huge integer": b'[{"event":"open","timestamp":' + b"9" * 5000 + b"}]",
    "a huge float": b'[{"event":"open","timestamp":1e400}]',
    "halves of surrogates": b'[{"event":"open","timestamp":1790000000,"email":"\\ud800@x.ie","url":"\\udfff","x":"\\ud800"}]',
    "half a surrogate as a name": b'[{"event":"open","timestamp":1790000000,"\\ud800":1}]',
    "NUL everywhere": b'[{"event":"open\\u0000","timestamp":1790000000,"email":"\\u0000","sg_event_id":"\\u0000",'
    b'"ics_message":"a\\u0000-1","reason":"\\u0000","url":"\\u0000","\\u0000":"\\u0000"}]',
    "bytes that are no UTF-8": b'[{"event":"open","timestamp":1790000000,"email":"\xff\xfe"}]',
    "another encoding": '[{"event":"open","timestamp":1790000000}]'.encode("utf-16"),
    "the same name twice": b'[{"event":"open","event":"click","timestamp":1790000000,"timestamp":"x"}]',
    "a long text": b'[{"event":"bounce","timestamp":1790000000,"reason":"' + b"x" * 1_500_000 + b'"}]',
    "a long name": b'[{"event":"open","timestamp":1790000000,"' + b"x" * 1_500_000 + b'":1}]',
    "a long reference": b'[{"event":"open","timestamp":1790000000,"ics_message":"aaaaaaaaaaaa-'
    + b"1" * 100_000
    + b'"}]',
    "many fields": b'[{"event":"open","timestamp":1790000000,'
    + b",".join(b'"a%d":%d' % (n, n) for n in range(50_000))
    + b"}]",
    "100,000 empty events": b"[" + b",".join([b"{}"] * 100_000) + b"]",
    "20,000 numbers": b"[" + b",".join(b"%d" % n for n in range(20_000)) + b"]",
}


@pytest.mark.slow
def test_extremes_hold_up_nothing(provider: Provider, database: Database) -> None:
    execution, ids = sent(database)
    for name, body in EXTREMES.items():
        assert provider.post(body) == 204, name
        settled(database)
        assert WebhookProblem.FAILED not in problems(database), name
    assert problems(database)[WebhookProblem.UNREADABLE] > 20_000
    is_well(provider, database, execution, ids[-1])


@pytest.mark.slow
def test_a_hundred_thousand_events_in_one_webhook_are_applied(provider: Provider, database: Database) -> None:
    execution, ids = sent(database)
    events = b",".join(b'{"event":"x","timestamp":%d}' % (NOW + n) for n in range(50_000))
    body = b"[" + events + b"," + b",".join([b"0"] * 50_000) + b"]"
    assert provider.post(body) == 204
    settled(database)
    assert problems(database) == {WebhookProblem.UNREADABLE: 1}
    is_well(provider, database, execution, ids[-1])


@pytest.mark.slow
def test_reports_and_replies_of_any_shape_hold_up_nothing(provider: Provider, database: Database) -> None:
    execution, ids = sent(database, Channel.SMS)
    names = st.sampled_from(
        ["Status", "CustomerID", "Phonenumber", "EventID", "mobilenumber", "command", "timestamp", "sentto"]
    )
    texts = st.sampled_from(
        ["DELIVRD", "UNDELIV", "STOP", "START", f"{execution.uid}-{ids[0]}", "+353870000001", "353870000001"]
    )
    documents = st.dictionaries(names | TEXT, texts | VALUES, max_size=6)
    types = st.sampled_from(
        ["", "application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
    )

    @EXAMPLES
    @given(documents, types, st.sampled_from(["delivery", "reply"]), st.binary(max_size=80))
    def run(document: dict[str, Any], content_type: str, kind: str, noise: bytes) -> None:
        fields = {name: value for name, value in document.items() if isinstance(value, str)}
        for body in (dumps(document), urlencode(fields).encode("utf-8"), noise):
            assert (
                provider.report(
                    kind,
                    body,
                    content_type,
                )
                == 200
            )
        assert provider.call(kind, urlencode(fields)[:8000]) == 200
        assert provider.call(kind, quote(noise)) == 200

    run()
    for body in EXTREMES.values():
        assert provider.report("delivery", body) == 200
        assert provider.report("reply", body, "application/json") == 200
    settled(database)
    assert WebhookProblem.FAILED not in problems(database)
    good = {"Status": "DELIVRD", "CustomerID": f"{execution.uid}-{ids[-1]}", "EventID": "last"}
    assert provider.report("delivery", urlencode(good).encode()) == 200
    settled(database)
    with database.reading() as s:
        assert Feedback.DELIVERED in Feedback(s.get_one(Message, ids[-1]).feedback)
        assert get_counts(s, execution.id) == recount(s, execution.id)


def dumps(value: Any) -> bytes:
    """JSON of anything that JSON can say, huge integers too."""
    return json.dumps(value).encode()
