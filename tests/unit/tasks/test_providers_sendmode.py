"""Sendmode in each of its dialects: what goes out, and what every answer means."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson
import pytest

from settings import SendmodeProfile
from tasks.providers.outcomes import (
    Accepted,
    MessageOutcome,
    MessageRefused,
    NotTaken,
    RequestRefused,
    Unknown,
)
from tasks.providers.sendmode import SendmodeMessenger
from tasks.providers.sendmode_profiles import Sms
from tests.unit.tasks.wire import Answer, Fault, Request, Wire, closed_port, response, serving

V1, REST2, REST3 = SendmodeProfile.V1, SendmodeProfile.REST2, SendmodeProfile.REST3
SMS = Sms("+353861234567", "Hi Zoë", "Shop", "k3f9a0b1c2d4-1042")
TAKEN = {
    V1: b'{"id":"s1","status":"queued"}',
    REST2: b'{"status":"OK","statusCode":0}',
    REST3: b'{"is_successful":true}',
}


@contextmanager
def messenger(
    url: str, profile: SendmodeProfile = V1, *, timeout: float = 5.0, concurrency: int = 4
) -> Iterator[SendmodeMessenger]:
    made = SendmodeMessenger(
        url, "raw-key", profile=profile, timeout_seconds=timeout, concurrency=concurrency
    )
    try:
        yield made
    finally:
        made.close()


def outcome_of(answer: bytes | Fault, profile: SendmodeProfile = V1) -> MessageOutcome:
    with serving(answer) as wire, messenger(wire.url, profile, timeout=0.5) as sendmode:
        return sendmode.send(SMS)


def batch(count: int) -> list[Sms]:
    return [
        Sms(f"+35386{number:07}", f"Hi {number}", "Shop", f"k3f9a0b1c2d4-{number}") for number in range(count)
    ]


def sent(
    answer: Answer | bytes, messages: Sequence[Sms], *, seconds: float = 60
) -> tuple[list[MessageOutcome], Wire]:
    with serving(answer) as wire, messenger(wire.url) as sendmode:
        return sendmode.send_many(messages, begin_at=lambda _: 0.0, deadline=time.monotonic() + seconds), wire


class TestRequest:
    @pytest.mark.parametrize(
        ("profile", "path", "body"),
        [
            (
                V1,
                "/v1/messages",
                {"sender": "Shop", "to": "+353861234567", "text": "Hi Zoë", "reference": SMS.reference},
            ),
            (
                REST2,
                "/v2/send",
                {
                    "messagetext": "Hi Zoë",
                    "recipients": ["353861234567"],
                    "senderid": "Shop",
                    "customerid": SMS.reference,
                },
            ),
            (
                REST3,
                "/3.0/send",
                {
                    "sender_id": "Shop",
                    "message": "Hi Zoë",
                    "mobile_number": "+353861234567",
                    "customer_id": SMS.reference,
                },
            ),
        ],
    )
    def test_speaks_the_dialect(self, profile: SendmodeProfile, path: str, body: dict[str, object]) -> None:
        with serving(response(200, TAKEN[profile])) as wire, messenger(wire.url, profile) as sendmode:
            assert isinstance(sendmode.send(SMS), Accepted)

        (request,) = wire.requests
        assert request.line == f"POST {path} HTTP/1.1"
        assert orjson.loads(request.body) == body
        assert request.headers["authorization"] == "raw-key"

    def test_text_that_is_no_unicode_is_refused_here(self) -> None:
        with messenger(closed_port()) as sendmode:
            outcome = sendmode.send(Sms("+353861234567", "\ud83d", "Shop", "r"))

        assert isinstance(outcome, MessageRefused)


class TestSuccess:
    @pytest.mark.parametrize(
        ("profile", "status", "body", "outcome"),
        [
            (V1, 200, b'{"id":"s1","status":"queued"}', Accepted("s1")),
            (V1, 202, b'{"id":17}', Accepted("17")),
            (V1, 200, b'{"id":"s1","status":"rejected","error":"bad number"}', MessageRefused("bad number")),
            (V1, 200, b'{"status":"FAILED"}', MessageRefused("FAILED")),
            (REST2, 200, b'{"status":"OK","statusCode":0}', Accepted(None)),
            (REST2, 200, b'{"status":"ERROR","statusCode":5}', MessageRefused("ERROR (statusCode 5)")),
            (REST3, 200, b'{"is_successful":true}', Accepted(None)),
            (REST3, 200, b'{"is_successful":false,"error_message":"No credit"}', MessageRefused("No credit")),
            (REST3, 200, b'{"error_message":"No credit"}', MessageRefused("No credit")),
        ],
    )
    def test_is_read_by_the_dialects_rule(
        self, profile: SendmodeProfile, status: int, body: bytes, outcome: MessageOutcome
    ) -> None:
        assert outcome_of(response(status, body), profile) == outcome

    @pytest.mark.parametrize("profile", list(SendmodeProfile))
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"[]",
            b"7",
            b"null",
            b'"OK"',
            b"not json",
            b"<html>OK</html>",
            b'{"id":',
            b'{"id":null}',
        ],
    )
    def test_that_cannot_be_read_leaves_it_unknown(self, profile: SendmodeProfile, body: bytes) -> None:
        assert isinstance(outcome_of(response(200, body), profile), Unknown)

    @pytest.mark.parametrize(
        ("profile", "body"),
        [
            (V1, b'{"id":""}'),
            (V1, b'{"id":true}'),
            (V1, b'{"id":{}}'),
            (REST2, b'{"status":"OK"}'),
            (REST2, b'{"status":"OK","statusCode":"x"}'),
            (REST2, b'{"status":"WAIT","statusCode":0}'),
            (REST3, b'{"is_successful":"true"}'),
            (REST3, b'{"is_successful":1}'),
        ],
    )
    def test_that_contradicts_itself_leaves_it_unknown(self, profile: SendmodeProfile, body: bytes) -> None:
        assert isinstance(outcome_of(response(200, body), profile), Unknown)


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 409, 413, 422])
    def test_a_4xx_refuses_this_message(self, status: int) -> None:
        assert outcome_of(response(status, b"bad number")) == MessageRefused(f"{status}: bad number")

    @pytest.mark.parametrize("status", [301, 308, 401, 402, 403, 404, 405, 415])
    def test_what_is_about_the_account_refuses_all(self, status: int) -> None:
        outcome = outcome_of(response(status))

        assert isinstance(outcome, RequestRefused)
        assert outcome.status == status

    def test_429_is_not_taken(self) -> None:
        assert outcome_of(response(429, Retry_After="7")) == NotTaken("429: rate limit", 7.0)

    @pytest.mark.parametrize("said", [*(response(s) for s in (408, 500, 502, 503)), *Fault, b"HTTP/1.1 200"])
    def test_a_5xx_or_no_answer_leaves_it_unknown(self, said: bytes | Fault) -> None:
        assert isinstance(outcome_of(said), Unknown)

    def test_without_a_connection_nothing_was_taken(self) -> None:
        with messenger(closed_port()) as sendmode:
            assert isinstance(sendmode.send(SMS), NotTaken)


class TestSendMany:
    def test_keeps_the_order_of_the_messages(self) -> None:
        def echo(request: Request) -> bytes:
            return response(200, orjson.dumps({"id": orjson.loads(request.body)["reference"]}))

        messages = batch(50)
        outcomes, wire = sent(echo, messages)

        assert outcomes == [Accepted(message.reference) for message in messages]
        assert len(wire.requests) == 50

    def test_posts_as_many_at_a_time_as_agreed(self) -> None:
        together = threading.Barrier(4, timeout=10)

        def all_at_once(_request: Request) -> bytes:
            # Nobody is answered before four requests are here.
            together.wait()
            return response(200, TAKEN[V1])

        outcomes, wire = sent(all_at_once, batch(8))

        assert outcomes == [Accepted("s1")] * 8
        assert wire.connections == 4

    def test_one_refused_message_stops_no_other(self) -> None:
        def refuse_the_third(request: Request) -> bytes:
            return response(400) if b"-2" in request.body else response(200, TAKEN[V1])

        outcomes, _ = sent(refuse_the_third, batch(5))

        assert [type(outcome) for outcome in outcomes] == [
            Accepted,
            Accepted,
            MessageRefused,
            Accepted,
            Accepted,
        ]

    def test_a_refused_account_ends_it(self) -> None:
        outcomes, wire = sent(response(401), batch(200))

        assert all(isinstance(outcome, RequestRefused) for outcome in outcomes)
        assert len(wire.requests) < 20

    def test_a_wish_to_wait_ends_it(self) -> None:
        outcomes, wire = sent(response(429, Retry_After="9"), batch(200))

        assert outcomes == [NotTaken("429: rate limit", 9.0)] * 200
        assert len(wire.requests) < 20

    def test_nothing_is_begun_after_the_deadline(self) -> None:
        outcomes, wire = sent(response(200, TAKEN[V1]), batch(5), seconds=-1)

        assert all(isinstance(outcome, NotTaken) for outcome in outcomes)
        assert wire.requests == []

    def test_of_nothing_is_nothing(self) -> None:
        assert sent(response(200), [])[0] == []
