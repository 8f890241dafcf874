"""Every answer of SendGrid, and every way to get none, as what is known afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from tasks.providers.http import exchange, make_client, retry_after
from tasks.providers.outcomes import Accepted, NotTaken, PartlyRefused, RequestRefused, Unknown
from tasks.providers.sendgrid import SendGridMessenger, classify
from tests.unit.tasks.wire import Answer, Fault, closed_port, response, serving

BODY = b'{"personalizations": []}'


@contextmanager
def messenger(url: str, *, key: str = "SG.secret", timeout: float = 5.0) -> Iterator[SendGridMessenger]:
    made = SendGridMessenger(url, key, timeout_seconds=timeout)
    try:
        yield made
    finally:
        made.close()


def outcome_of(answer: Answer | bytes | Fault, *, timeout: float = 5.0) -> object:
    with serving(answer) as wire, messenger(wire.url, timeout=timeout) as sendgrid:
        return sendgrid.send(BODY)


def errors(*fields: str | None) -> bytes:
    items = ",".join(
        '{"message":"bad","field":' + (f'"{field}"' if field else "null") + ',"help":null}'
        for field in fields
    )
    return f'{{"errors":[{items}]}}'.encode()


class TestRequest:
    def test_posts_the_body_as_it_is_with_the_key(self) -> None:
        with serving(response(202, X_Message_Id="m1")) as wire, messenger(wire.url) as sendgrid:
            assert sendgrid.send(BODY) == Accepted("m1")

        (request,) = wire.requests
        assert request.line == "POST /v3/mail/send HTTP/1.1"
        assert request.body == BODY
        assert request.headers["authorization"] == "Bearer SG.secret"
        assert request.headers["content-type"] == "application/json"

    def test_keeps_the_connection(self) -> None:
        with serving(response(202, X_Message_Id="m1")) as wire, messenger(wire.url) as sendgrid:
            for _ in range(3):
                sendgrid.send(BODY)

        assert (len(wire.requests), wire.connections) == (3, 1)

    def test_a_connection_seen_closed_is_not_used_again(self) -> None:
        with (
            serving(response(202, X_Message_Id="m1", X_Hang_Up="now")) as wire,
            messenger(wire.url) as sendgrid,
        ):
            first = sendgrid.send(BODY)
            assert wire.hung_up.wait(5)
            second = sendgrid.send(BODY)

        assert (first, second) == (Accepted("m1"), Accepted("m1"))
        assert wire.connections == 2


class TestAnswers:
    def test_202_without_an_id_is_accepted_all_the_same(self) -> None:
        assert outcome_of(response(202)) == Accepted(None)

    @pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 415, 422])
    def test_a_4xx_refuses_the_request(self, status: int) -> None:
        outcome = outcome_of(response(status, errors(None)))

        assert isinstance(outcome, RequestRefused)
        assert outcome.status == status

    def test_413_with_html_is_a_refusal_too(self) -> None:
        assert outcome_of(response(413, b"<html>413</html>")) == RequestRefused("413: Reason", 413)

    @pytest.mark.parametrize(
        ("body", "refused"),
        [
            (errors("personalizations.3.to.0.email"), {3: "bad"}),
            (errors("personalizations.0.to", "personalizations.999.to.0.email"), {0: "bad", 999: "bad"}),
            (errors("personalizations.3"), {3: "bad"}),
        ],
    )
    def test_400_about_recipients_refuses_them_alone(self, body: bytes, refused: dict[int, str]) -> None:
        assert outcome_of(response(400, body)) == PartlyRefused(refused)

    @pytest.mark.parametrize(
        "body",
        [
            errors("from.email"),
            errors(None),
            errors("personalizations"),
            errors("personalizations.3.to.0.email", "subject"),
            errors("personalizations." + "9" * 5000 + ".to"),
            b"",
            b"{}",
            b"[]",
            b"not json",
            b'{"errors": "odd"}',
            b'{"errors": [7]}',
        ],
    )
    def test_400_about_anything_else_refuses_the_request(self, body: bytes) -> None:
        outcome = outcome_of(response(400, body))

        assert isinstance(outcome, RequestRefused)
        assert outcome.status == 400

    def test_429_is_not_taken_and_says_when_to_come_back(self) -> None:
        assert outcome_of(response(429, Retry_After="7")) == NotTaken("429: rate limit", 7.0)
        assert outcome_of(response(429)) == NotTaken("429: rate limit", None)

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 599])
    def test_a_5xx_after_the_body_is_unknown(self, status: int) -> None:
        assert isinstance(outcome_of(response(status, Retry_After="1")), Unknown)

    @pytest.mark.parametrize("status", [200, 201, 204, 303])
    def test_another_success_says_nothing_about_mail(self, status: int) -> None:
        assert isinstance(outcome_of(response(status)), Unknown)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_a_redirect_is_a_wrong_address(self, status: int) -> None:
        with serving(response(status, Location="/other")) as wire, messenger(wire.url) as sendgrid:
            assert isinstance(sendgrid.send(BODY), RequestRefused)
        assert len(wire.requests) == 1

    def test_200_is_an_acceptance_in_sandbox_mode_only(self) -> None:
        with serving(response(200, b"{}")) as wire, messenger(wire.url) as sendgrid:
            assert sendgrid.send(BODY, sandbox_mode=True) == Accepted(None)
            assert isinstance(sendgrid.send(BODY), Unknown)


class TestNoAnswer:
    @pytest.mark.parametrize("url", ["http://no-such-host.invalid", "closed port"])
    def test_without_a_connection_nothing_was_taken(self, url: str) -> None:
        with messenger(closed_port() if url == "closed port" else url) as sendgrid:
            outcome = sendgrid.send(BODY)

        assert isinstance(outcome, NotTaken)
        assert outcome.retry_after is None

    def test_without_tls_nothing_was_taken(self) -> None:
        with (
            serving(response(202)) as wire,
            messenger(wire.url.replace("http", "https"), timeout=0.3) as sendgrid,
        ):
            assert isinstance(sendgrid.send(BODY), NotTaken)

    def test_when_all_connections_are_busy_nothing_was_taken(self) -> None:
        with (
            serving(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf") as wire,
            make_client(0.2, connections=1) as client,
            client.stream("GET", wire.url),
        ):
            outcome = exchange(lambda: client.post(wire.url, content=BODY))

        assert isinstance(outcome, NotTaken)
        assert len(wire.requests) == 1

    @pytest.mark.parametrize("fault", list(Fault))
    def test_once_the_body_left_nobody_knows(self, fault: Fault) -> None:
        assert isinstance(outcome_of(fault, timeout=0.3), Unknown)

    @pytest.mark.parametrize(
        "said",
        [
            b"garbage\r\n\r\n",
            b"HTTP/1.1 202 Accep",
            b"HTTP/1.1 202 Accepted\r\nX-Message-Id: m1\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
            b"HTTP/1.1 2x2 Accepted\r\n\r\n",
            b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        ],
    )
    def test_a_garbled_answer_leaves_it_unknown(self, said: bytes) -> None:
        assert isinstance(outcome_of(said), Unknown)

    def test_a_server_that_closes_while_the_body_is_on_its_way_leaves_it_unknown(self) -> None:
        with serving(Fault.RESET) as wire, messenger(wire.url) as sendgrid:
            assert isinstance(sendgrid.send(b"x" * 5_000_000), Unknown)

    @pytest.mark.parametrize(
        ("url", "key"), [("nonsense", "key"), ("ftp://x", "key"), (None, "a\r\nb"), (None, "é")]
    )
    def test_what_cannot_be_a_request_is_refused(self, url: str | None, key: str) -> None:
        with serving(response(202)) as wire, messenger(url or wire.url, key=key) as sendgrid:
            assert isinstance(sendgrid.send(BODY), RequestRefused)
        assert wire.requests == []

    def test_reasons_never_carry_the_key(self) -> None:
        for key in ("SG.secret\r\nx", "SG.secreté"):
            with messenger(closed_port(), key=key) as sendgrid:
                assert "SG.secret" not in str(sendgrid.send(BODY))


class TestRetryAfter:
    NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({}, None),
            ({"Retry-After": "30"}, 30.0),
            ({"Retry-After": "999999"}, 3600.0),
            ({"Retry-After": "9" * 400}, 3600.0),
            ({"Retry-After": "Mon, 23 Nov 2026 12:01:00 GMT"}, 60.0),
            ({"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT"}, 0.0),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": "-5"}, None),
            ({"Retry-After": "1.5"}, None),
            ({"X-RateLimit-Reset": str(int(NOW.timestamp()) + 12)}, 12.0),
            ({"X-RateLimit-Reset": str(int(NOW.timestamp()) - 12)}, 0.0),
            ({"X-RateLimit-Reset": "later"}, None),
            ({"Retry-After": "3", "X-RateLimit-Reset": str(int(NOW.timestamp()) + 12)}, 3.0),
        ],
    )
    def test_is_between_zero_and_an_hour(self, headers: dict[str, str], seconds: float | None) -> None:
        assert retry_after(httpx.Response(429, headers=headers), self.NOW) == seconds

    @pytest.mark.parametrize("hours", [-1, 1])
    def test_does_not_depend_on_the_workers_clock(self, hours: int) -> None:
        reset = str(int(self.NOW.timestamp()) + 5)
        headers = {"X-RateLimit-Reset": reset, "Date": format_datetime(self.NOW, usegmt=True)}
        wrong = self.NOW + timedelta(hours=hours)
        assert retry_after(httpx.Response(429, headers=headers), wrong) == 5.0


def test_every_status_has_an_outcome() -> None:
    for status in range(200, 600):
        outcome = classify(httpx.Response(status))
        assert isinstance(outcome, Accepted) == (status == 202)
