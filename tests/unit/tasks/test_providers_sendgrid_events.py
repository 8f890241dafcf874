"""SendGrid's Event Webhook: signatures over raw bytes, and events of any shape."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from sendgrid.helpers.eventwebhook import EventWebhook

from tasks.providers.events import BadEvent, EventKind, ProviderEvent, fingerprint, fingerprint_bad, storable
from tasks.providers.sendgrid_events import age_seconds, parse_events, verify_signature

REFERENCE = "k3f9a0b1c2d4-1042"
MOMENT = 1_795_000_000
BODY = b'[{"email":"a@x.ie","event":"open"\xc3\xa9},\r\n{"event":"click"}]\r\n'


def key_pair() -> tuple[ec.EllipticCurvePrivateKey, str]:
    private = ec.generate_private_key(ec.SECP256R1())
    return private, public_text(private)


def public_text(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    encoding, kind = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(private.public_key().public_bytes(encoding, kind)).decode()


def sign(private: ec.EllipticCurvePrivateKey, timestamp: str, body: bytes) -> str:
    return base64.b64encode(private.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


PRIVATE, PUBLIC = key_pair()
OTHER_PRIVATE, OTHER_PUBLIC = key_pair()
SIGNATURE = sign(PRIVATE, "1795000000", BODY)


class TestVerifySignature:
    def test_accepts_any_of_the_keys_while_they_are_rotated(self) -> None:
        assert verify_signature([PUBLIC], SIGNATURE, "1795000000", BODY)
        assert verify_signature([OTHER_PUBLIC, PUBLIC], SIGNATURE, "1795000000", BODY)

    def test_agrees_with_the_sdk(self) -> None:
        body = b'[{"event":"open"},\r\n{"event":"click"}]\r\n'
        signature = sign(PRIVATE, "1795000000", body)

        assert EventWebhook(PUBLIC).verify_signature(body.decode(), signature, "1795000000")
        assert verify_signature([PUBLIC], signature, "1795000000", body)

    @pytest.mark.parametrize(
        ("keys", "signature", "timestamp", "body"),
        [
            ([PUBLIC], SIGNATURE, "1795000000", BODY.replace(b"\r\n", b"\n")),
            ([PUBLIC], SIGNATURE, "1795000001", BODY),
            ([PUBLIC], SIGNATURE, "", BODY),
            ([PUBLIC], sign(OTHER_PRIVATE, "1795000000", BODY), "1795000000", BODY),
            ([OTHER_PUBLIC], SIGNATURE, "1795000000", BODY),
            ([], SIGNATURE, "1795000000", BODY),
            ([PUBLIC], "", "1795000000", BODY),
            ([PUBLIC], "no base64!", "1795000000", BODY),
            ([PUBLIC], base64.b64encode(b"no DER").decode(), "1795000000", BODY),
            ([PUBLIC], "é", "1795000000", BODY),
            ([PUBLIC], SIGNATURE, "é", BODY),
            (["", "é", "no base64!", base64.b64encode(b"no key").decode()], SIGNATURE, "1795000000", BODY),
            ([public_text(rsa.generate_private_key(65537, 2048))], SIGNATURE, "1795000000", BODY),
        ],
        ids=range(13),
    )
    def test_refuses_without_raising(
        self, keys: list[str], signature: str, timestamp: str, body: bytes
    ) -> None:
        assert not verify_signature(keys, signature, timestamp, body)

    @given(st.text(), st.text(), st.text(), st.binary())
    def test_never_raises(self, key: str, signature: str, timestamp: str, body: bytes) -> None:
        assert not verify_signature([key, PUBLIC], signature, timestamp, body)

    def test_knows_the_age_of_a_timestamp(self) -> None:
        now = datetime.fromtimestamp(MOMENT, UTC)

        assert age_seconds(str(MOMENT - 90), now) == 90
        assert age_seconds(str(MOMENT + 10), now) == -10
        assert [age_seconds(text, now) for text in ("", "x", "1.5", "-1", "²", "9" * 13)] == [None] * 6


def one(**fields: Any) -> ProviderEvent:
    item = {
        "email": "Ann@Example.com",
        "timestamp": MOMENT,
        "event": "processed",
        "ics_message": REFERENCE,
        **fields,
    }
    (event,) = parse_events(json.dumps([item]).encode())
    assert isinstance(event, ProviderEvent)
    return event


class TestParseEvents:
    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"event": "processed"}, EventKind.PROCESSED),
            ({"event": "deferred"}, EventKind.DEFERRED),
            ({"event": "delivered"}, EventKind.DELIVERED),
            ({"event": "bounce", "type": "bounce"}, EventKind.BOUNCE),
            ({"event": "bounce", "type": "blocked"}, EventKind.BLOCKED),
            ({"event": "bounce"}, EventKind.BOUNCE),
            ({"event": "dropped"}, EventKind.DROPPED),
            ({"event": "open"}, EventKind.OPEN),
            ({"event": "open", "sg_machine_open": False}, EventKind.OPEN),
            ({"event": "open", "sg_machine_open": True}, EventKind.MACHINE_OPEN),
            ({"event": "click"}, EventKind.CLICK),
            ({"event": "spamreport"}, EventKind.SPAM_REPORT),
            ({"event": "unsubscribe"}, EventKind.UNSUBSCRIBE),
            ({"event": "group_unsubscribe"}, EventKind.GROUP_UNSUBSCRIBE),
            ({"event": "group_resubscribe"}, EventKind.GROUP_RESUBSCRIBE),
            ({"event": "account_status_change", "email": None}, EventKind.ACCOUNT_STATUS),
            ({"event": "something new"}, EventKind.OTHER),
            ({"event": ["odd"]}, EventKind.OTHER),
        ],
    )
    def test_tells_the_kinds_apart(self, fields: dict[str, Any], kind: EventKind) -> None:
        assert one(**fields).kind is kind

    def test_keeps_what_the_ledger_needs(self) -> None:
        event = one(
            event="click",
            url="https://x.ie/?a=1",
            url_offset={"type": "html", "index": 2},
            sg_event_id="e1",
            sg_message_id="m1.filter",
            useragent="Firefox",
            reason="550",
        )

        assert (event.provider, event.reference, event.address) == ("sendgrid", REFERENCE, "ann@example.com")
        assert event.occurred_at == datetime.fromtimestamp(MOMENT, UTC)
        assert (event.provider_event_id, event.provider_message_id) == ("e1", "m1.filter")
        assert (event.url, event.url_offset) == ("https://x.ie/?a=1", '{"index":2,"type":"html"}')
        assert (event.classification, event.reason) == (None, "550")
        # What has a field of its own is not kept twice.
        assert event.raw["useragent"] == "Firefox"
        assert "url" not in event.raw

    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            (
                {"event": "bounce", "type": "bounce", "bounce_classification": "Invalid Address"},
                "invalid_address",
            ),
            ({"event": "bounce", "type": "blocked", "bounce_classification": "Reputation"}, "reputation"),
            (
                {"event": "bounce", "bounce_classification": "Frequency or Volume Too High"},
                "frequency_or_volume_too_high",
            ),
            ({"event": "bounce", "bounce_classification": "of next year"}, "unclassified"),
            ({"event": "bounce"}, "unclassified"),
            ({"event": "dropped", "reason": "Bounced Address"}, "bounced_address"),
            ({"event": "dropped", "reason": "Spam Content (if spam checker app enabled)"}, "spam_content"),
            ({"event": "dropped", "reason": "whatever"}, "other"),
        ],
    )
    def test_classifies_bounces_and_drops_by_words_that_can_be_counted(
        self, fields: dict[str, Any], word: str
    ) -> None:
        assert one(**fields).classification == word

    def test_one_event_that_cannot_be_read_spoils_no_other(self) -> None:
        body = b'[{"event":"open","timestamp":1795000000},"odd",{"event":"open"},7,{"timestamp":-1e300,"event":"open"}]'

        kinds = [type(event) for event in parse_events(body)]

        assert kinds == [ProviderEvent, BadEvent, BadEvent, BadEvent, BadEvent]

    def test_half_a_surrogate_pair_spoils_nothing(self) -> None:
        body = b'[{"event":"open","timestamp":1795000000,"useragent":"cut \\ud83d"},\r\n'
        body += b'{"event":"click","timestamp":1795000000,"odd":[1e999,NaN,true,null,99999999999999999999999]}]\r\n'

        opened, clicked = parse_events(body)

        assert isinstance(opened, ProviderEvent)
        assert opened.raw["useragent"] == "cut ?"
        assert isinstance(clicked, ProviderEvent)
        assert clicked.raw["odd"] == [None, None, True, None, None]

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"not json"])
    def test_a_body_that_is_no_json_is_one_bad_event(self, body: bytes) -> None:
        (event,) = parse_events(body)

        assert isinstance(event, BadEvent)
        assert len(event.raw) <= 2000

    @given(st.binary())
    def test_any_bytes_give_events_with_fingerprints(self, body: bytes) -> None:
        check(parse_events(body))

    JSON = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    )
    FIELDS = (
        "email",
        "timestamp",
        "event",
        "ics_message",
        "sg_event_id",
        "sg_message_id",
        "url",
        "url_offset",
        "reason",
        "response",
        "type",
        "bounce_classification",
        "sg_machine_open",
        "category",
    )

    @given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)) | JSON, max_size=4))
    def test_any_json_gives_events_with_fingerprints(self, items: list[Any]) -> None:
        events = parse_events(json.dumps(items).encode())

        assert len(events) == len(items)
        check(events)

    @given(st.fixed_dictionaries({"timestamp": st.just(MOMENT)}, optional=dict.fromkeys(FIELDS[2:], JSON)))
    def test_a_dated_object_is_always_an_event(self, item: dict[str, Any]) -> None:
        (event,) = parse_events(json.dumps([item]).encode())

        assert isinstance(event, ProviderEvent)


def check(events: list[ProviderEvent | BadEvent]) -> None:
    for event in events:
        if isinstance(event, BadEvent):
            assert len(fingerprint_bad(event)) == 32
            continue
        assert len(fingerprint(event)) == 32
        assert event.occurred_at.utcoffset() == timedelta(0)
        # What is kept has to fit into a JSON column.
        json.dumps(event.raw, allow_nan=False).encode()


class TestFingerprint:
    def test_is_the_same_for_copies_whose_event_id_changed(self) -> None:
        assert fingerprint(one(sg_event_id="a")) == fingerprint(one(sg_event_id="b")) == fingerprint(one())

    @pytest.mark.parametrize(
        "fields",
        [
            {"ics_message": "k3f9a0b1c2d4-1043"},
            {"event": "delivered"},
            {"timestamp": MOMENT + 1},
            {"url": "https://x.ie"},
            {"url": "https://x.ie", "url_offset": {"index": 1, "type": "html"}},
        ],
    )
    def test_differs_for_other_facts(self, fields: dict[str, Any]) -> None:
        base = one(url="https://y.ie") if "url_offset" not in fields else one(url="https://x.ie")

        assert fingerprint(one(**fields)) != fingerprint(base)

    @pytest.mark.parametrize(
        ("event", "field"),
        [
            ("open", "useragent"),
            ("click", "useragent"),
            ("bounce", "bounce_classification"),
            ("dropped", "reason"),
        ],
    )
    def test_differs_by_what_its_label_or_its_reason_is_told_from(self, event: str, field: str) -> None:
        assert fingerprint(one(event=event, **{field: "a"})) != fingerprint(one(event=event, **{field: "b"}))
        assert fingerprint(one(event="delivered", **{field: "a"})) == fingerprint(one(event="delivered"))

    def test_of_events_without_a_reference_depends_on_the_address(self) -> None:
        assert fingerprint(one(ics_message="", email="a@x.ie")) != fingerprint(
            one(ics_message="", email="b@x.ie")
        )
        assert fingerprint(one(ics_message="", email="a@x.ie")) == fingerprint(
            one(ics_message="", email="A@X.ie")
        )

    def test_of_events_without_a_reference_depends_on_the_request(self) -> None:
        first, second = (one(ics_message="", email="a@x.ie", sg_message_id=name) for name in ("m1.a", "m2.a"))
        assert fingerprint(first) != fingerprint(second)
        assert fingerprint(first) == fingerprint(one(ics_message="", email="a@x.ie", sg_message_id="m1.b"))
        assert fingerprint(one(sg_message_id="m1.a")) == fingerprint(one(sg_message_id="m2.a"))


class TestDepth:
    def deep(self, levels: int) -> str:
        return "[" * levels + "1" + "]" * levels

    def test_what_is_nested_too_deeply_is_cut_and_the_event_is_read(self) -> None:
        text = f'[{{"event":"open","timestamp":{MOMENT},"ics_message":"a-1","category":{self.deep(900)}}}]'

        (event,) = parse_events(text.encode())

        assert isinstance(event, ProviderEvent)
        assert (event.kind, event.reference) == (EventKind.OPEN, "a-1")
        # MariaDB reads no more than 32 levels.
        assert orjson.dumps(event.raw).count(b"[") < 30

    def test_what_is_no_event_is_kept_however_deep_it_is(self) -> None:
        (event,) = parse_events(f"[{self.deep(900)}]".encode())

        assert isinstance(event, BadEvent)

    def test_names_that_no_database_takes_are_cut(self) -> None:
        body = orjson.dumps([{"event": "open", "timestamp": MOMENT, "category": {"x" * 70_000: 1}}])

        (event,) = parse_events(body)

        assert isinstance(event, ProviderEvent)
        assert event.raw == {"category": {"x" * 1000: 1}}

    @given(
        st.recursive(
            st.integers(), lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner)
        )
    )
    def test_nothing_else_is_touched(self, value: Any) -> None:
        assert storable(value) == value
