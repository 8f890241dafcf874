"""Sendmode's webhooks: who may send them, and how each spelling of a report or a reply is read."""

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.providers.events import BadEvent, EventKind, ProviderEvent, fingerprint
from tasks.providers.sendmode_events import (
    is_secret,
    kind_of_reply,
    parse_delivery,
    parse_reply,
    verify_signature,
)

REFERENCE = "k3f9a0b1c2d4-1042"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REPORT = {
    "EventID": "77",
    "Phonenumber": "353861234567",
    "DataType": "SMS",
    "Status": "DELIVRD",
    "CustomerID": REFERENCE,
}


def report(**changes: Any) -> ProviderEvent:
    (event,) = parse_delivery(b"", "", urlencode(REPORT | changes), NOW)
    assert isinstance(event, ProviderEvent)
    return event


def reply(text: str, *, at: datetime = NOW) -> ProviderEvent:
    (event,) = parse_reply(
        b"", "", urlencode({"mobilenumber": "353861234567", "command": text, "sentto": "50123"}), at
    )
    assert isinstance(event, ProviderEvent)
    return event


class TestVerify:
    SIGNATURE = hmac.new(b"secret", b"1795000000" + b"a=1&b=2", hashlib.sha256).hexdigest()

    def test_accepts_the_hmac_of_timestamp_and_bytes(self) -> None:
        assert verify_signature("secret", self.SIGNATURE, "1795000000", b"a=1&b=2")
        assert verify_signature("secret", f" {self.SIGNATURE.upper()} ", "1795000000", b"a=1&b=2")

    @pytest.mark.parametrize(
        ("secret", "signature", "timestamp", "signed"),
        [
            ("secret", SIGNATURE, "1795000001", b"a=1&b=2"),
            ("secret", SIGNATURE, "1795000000", b"a=1&b=3"),
            ("other", SIGNATURE, "1795000000", b"a=1&b=2"),
            ("secret", SIGNATURE[:-1], "1795000000", b"a=1&b=2"),
            ("secret", "", "1795000000", b"a=1&b=2"),
            ("secret", "é", "é", b""),
            ("secret", "\ud800", "1795000000", b"a=1&b=2"),
            ("", hmac.new(b"", b"1795000000", hashlib.sha256).hexdigest(), "1795000000", b""),
        ],
    )
    def test_refuses_anything_else(self, secret: str, signature: str, timestamp: str, signed: bytes) -> None:
        assert not verify_signature(secret, signature, timestamp, signed)

    def test_knows_the_secret_of_the_path(self) -> None:
        assert is_secret("secret", "secret")
        assert not any(
            [is_secret("secret", "Secret"), is_secret("secret", ""), is_secret("", ""), is_secret("s", "é")]
        )


class TestDelivery:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            ("DELIVRD", EventKind.DELIVERED),
            ("delivrd ", EventKind.DELIVERED),
            ("DISPATCHED", EventKind.DISPATCHED),
            ("EXPIRED", EventKind.EXPIRED),
            ("UNDELIV", EventKind.FAILED),
            ("REJECTD", EventKind.REJECTED),
            ("FAILED", EventKind.FAILED),
            ("OPTED OUT - BLOCKED", EventKind.OPT_OUT),
            ("SOMETHING NEW", EventKind.OTHER),
        ],
    )
    def test_tells_the_stations_apart(self, status: str, kind: EventKind) -> None:
        assert report(Status=status).kind is kind

    @pytest.mark.parametrize(
        ("body", "content_type", "query"),
        [
            (b"", "", urlencode(REPORT)),
            (b"", "", urlencode({name.upper(): value for name, value in REPORT.items()})),
            (urlencode(REPORT).encode(), "application/x-www-form-urlencoded", ""),
            (urlencode(REPORT).encode(), "", ""),
            (json.dumps(REPORT).encode(), "application/json; charset=utf-8", ""),
            (json.dumps({name.lower(): value for name, value in REPORT.items()}).encode(), "text/plain", ""),
            (
                json.dumps(REPORT | {"Phonenumber": 353861234567, "EventID": 77}).encode(),
                "application/json",
                "",
            ),
            (urlencode(REPORT).encode(), "", "Status=FAILED&CustomerID=another"),
        ],
    )
    def test_reads_query_form_and_json_in_any_case(self, body: bytes, content_type: str, query: str) -> None:
        (event,) = parse_delivery(body, content_type, query, NOW)

        assert isinstance(event, ProviderEvent)
        assert (event.kind, event.reference, event.address) == (
            EventKind.DELIVERED,
            REFERENCE,
            "+353861234567",
        )
        assert event.occurred_at == NOW
        assert event.raw["phonenumber"] == "353861234567"

    @pytest.mark.parametrize("number", ["+353 86 123-4567", "353861234567", "00353861234567"])
    def test_reads_numbers_as_e164(self, number: str) -> None:
        assert report(Phonenumber=number).address == "+353861234567"

    def test_without_a_reference_needs_a_number(self) -> None:
        assert report(CustomerID="").address == "+353861234567"
        assert isinstance(parse_delivery(b"", "", "Status=DELIVRD")[0], BadEvent)
        assert isinstance(
            parse_delivery(b'{"Status":"DELIVRD","CustomerID":null}', "application/json", "")[0], BadEvent
        )
        assert isinstance(parse_delivery(b"", "", f"CustomerID={REFERENCE}")[0], BadEvent)

    def test_a_copy_that_arrives_later_has_the_same_fingerprint(self) -> None:
        later = parse_delivery(b"", "", urlencode(REPORT), NOW + timedelta(hours=1))[0]

        assert isinstance(later, ProviderEvent)
        assert fingerprint(later) == fingerprint(report())
        assert later.provider_event_id == report().provider_event_id

    @pytest.mark.parametrize("changes", [{"Status": "DISPATCHED"}, {"CustomerID": "k3f9a0b1c2d4-1043"}])
    def test_other_facts_are_not_taken_for_copies(self, changes: dict[str, str]) -> None:
        # Sendmode does not say whether EventID names the event or the message; both have to work.
        assert fingerprint(report(**changes)) != fingerprint(report())
        assert report(**changes).provider_event_id != report().provider_event_id


class TestReply:
    STOP = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT", "OPT OUT")

    @pytest.mark.parametrize("word", [*STOP, "stop", " Stop\n", "opt  out"])
    def test_stop_words_opt_out(self, word: str) -> None:
        event = reply(word)

        assert (event.kind, event.address) == (EventKind.OPT_OUT, "+353861234567")

    @pytest.mark.parametrize("word", ["START", "yes", " Unstop "])
    def test_start_words_opt_in(self, word: str) -> None:
        assert reply(word).kind is EventKind.OPT_IN

    @pytest.mark.parametrize(
        "text", ["bus stop at 5?", "don't stop", "stop it", "yes please", "", "the end", "STOP START"]
    )
    def test_anything_else_is_a_reply(self, text: str) -> None:
        assert kind_of_reply(text) is EventKind.REPLY

    def test_the_same_word_another_day_is_another_fact(self) -> None:
        assert fingerprint(reply("STOP")) != fingerprint(reply("STOP", at=NOW + timedelta(days=1)))
        assert fingerprint(reply("STOP")) == fingerprint(reply("STOP"))
        assert fingerprint(reply("one")) != fingerprint(reply("two"))

    def test_keeps_the_text(self) -> None:
        assert reply("Is 5 pm ok? é€😀").reason == "Is 5 pm ok? é€😀"

    def test_without_a_number_is_a_bad_event(self) -> None:
        assert isinstance(parse_reply(b"", "", "command=STOP")[0], BadEvent)
        assert isinstance(parse_reply(b"", "", "command=STOP&mobilenumber=abc")[0], BadEvent)


class TestAnything:
    KEYS = st.sampled_from(
        ["Status", "CustomerID", "Phonenumber", "EventID", "mobilenumber", "command", "timestamp"]
    )
    JSON = st.dictionaries(
        KEYS | st.text(), st.none() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )

    @given(st.binary() | JSON.map(lambda fields: json.dumps(fields).encode()), st.text(), st.text())
    def test_never_raises(self, body: bytes, content_type: str, query: str) -> None:
        for parse in (parse_delivery, parse_reply):
            for each in (content_type, "application/json", "application/x-www-form-urlencoded"):
                (event,) = parse(body, each, query, NOW)
                if isinstance(event, ProviderEvent):
                    assert len(fingerprint(event)) == 32
                    json.dumps(event.raw, allow_nan=False)

    @given(st.dictionaries(st.text(min_size=1), st.text(), max_size=5))
    def test_reads_what_a_browser_would_send(self, extra: dict[str, str]) -> None:
        fields = {
            name: value for name, value in extra.items() if name.lower() not in {k.lower() for k in REPORT}
        }
        (event,) = parse_delivery(urlencode(fields | REPORT).encode(), "", "", NOW)

        assert isinstance(event, ProviderEvent)
        assert event.reference == REFERENCE

    @pytest.mark.parametrize("text", ["&".join(f"a{n}=1" for n in range(101)), "a=1&" * 500])
    def test_too_many_fields_are_a_bad_event(self, text: str) -> None:
        assert isinstance(parse_delivery(b"", "", text)[0], BadEvent)
        assert isinstance(parse_reply(text.encode(), "", "")[0], BadEvent)
