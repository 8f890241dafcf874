"""The sandbox on a real socket: providers, webhooks, faults, and what a restart does not lose."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sendgrid.helpers.eventwebhook import EventWebhook

from sandbox.config import SandboxConfig, config_from_settings
from sandbox.keys import ensure_keypair, sign_report
from sandbox.sendgrid_validation import MAX_BODY_BYTES
from sandbox.server import PortTaken, make_server, run
from settings import SendmodeProfile, Settings
from tasks.providers.outcomes import BatchOutcome, MessageOutcome, Unknown
from tasks.providers.sendgrid import SendGridMessenger
from tasks.providers.sendmode import SendmodeMessenger
from tasks.providers.sendmode_profiles import Sms
from tests.integration.conftest import SENDGRID_KEY, SENDMODE_KEY, Sandbox

PATIENCE = 20.0
UID = "k3f9a0b1c2d4"
SECRET = "webhook-secret"
MAIL = {"Authorization": f"Bearer {SENDGRID_KEY}", "Content-Type": "application/json"}
SMS = {"Authorization": SENDMODE_KEY}


def until(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true answer; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


@dataclass
class Received:
    """A webhook as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """A platform: keeps what is posted, and answers as told."""

    url: str
    status: int = 200
    answer: bytes = b"True"
    received: list[Received] = field(default_factory=list)

    def events(self) -> list[dict[str, Any]]:
        posts = [post for post in list(self.received) if post.path == "/webhooks/sendgrid"]
        return [event for post in posts for event in orjson.loads(post.body)]


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            receiver.received.append(Received(self.command, path, query, dict(self.headers), body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", str(len(receiver.answer)))
            self.end_headers()
            self.wfile.write(receiver.answer)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Tests say enough."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def serving(config: SandboxConfig) -> Iterator[str]:
    """The URL of a sandbox that runs meanwhile."""
    server = make_server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started or not thread.is_alive())
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def platform() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def config(tmp_path: Path, platform: Receiver) -> SandboxConfig:
    return SandboxConfig(
        home=tmp_path / "reporting",
        sendgrid_api_key=SENDGRID_KEY,
        sendmode_api_key=SENDMODE_KEY,
        webhook_base_url=platform.url,
        sendmode_webhook_secret=SECRET,
        pace=0.02,
        verified_domains=("example.com",),
    )


@pytest.fixture
def http(config: SandboxConfig) -> Iterator[httpx.Client]:
    """A client of a sandbox that reports to `platform`."""
    with serving(config) as url, httpx.Client(base_url=url, trust_env=False, timeout=10) as client:
        yield client


@pytest.fixture
def silent(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of a sandbox whose webhooks go nowhere."""
    with httpx.Client(base_url=sandbox.url, trust_env=False, timeout=10) as client:
        yield client


def mail(count: int = 1, **changes: Any) -> bytes:
    people = [
        {
            "to": [{"email": f"c{number}@example.com"}],
            "custom_args": {"ics_message": f"{UID}-{number}"},
            "substitutions": {"[name]": f"Client {number}"},
        }
        for number in range(count)
    ]
    body = {
        "from": {"email": "shop@example.com"},
        "subject": "Hello [name]",
        "content": [
            {"type": "text/plain", "value": "Dear [name]"},
            {
                "type": "text/html",
                "value": '<p>Dear [name], <a href="https://shop.example.com/">look</a></p>',
            },
        ],
        "personalizations": people,
    }
    return orjson.dumps(body | changes)


def send(client: httpx.Client, body: bytes) -> httpx.Response:
    return client.post("/v3/mail/send", content=body, headers=MAIL)


def sms(number: int = 1) -> dict[str, str]:
    return {"sender": "TheShop", "to": "+353861234567", "text": "Hi €", "reference": f"{UID}-{number}"}


def counts(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/sandbox/journal", params={"uid": UID}).json()
    return found


def is_all_posted(client: httpx.Client) -> bool:
    return bool(client.get("/sandbox/outbox").json()["pending"] == 0)


class TestMail:
    def test_a_thousand_personalizations_are_journalled_before_the_answer(self, silent: httpx.Client) -> None:
        answer = send(silent, mail(1000))
        assert answer.status_code == 202
        assert answer.content == b""
        assert counts(silent) == {
            "accepted": 1000, "distinct": 1000, "duplicates": 0, "parts": 0, "providers": {"sendgrid": 1000},
        }  # fmt: skip
        [entry] = silent.get("/sandbox/journal/entries", params={"after": 6, "limit": 1}).json()
        assert entry["request_id"] == answer.headers["X-Message-Id"]
        assert (entry["address"], entry["subject"]) == ("c6@example.com", "Hello Client 6")
        shown = silent.get(f"/sandbox/messages/{UID}-6").json()
        assert shown["text"] == "Dear Client 6"
        assert silent.get("/sandbox/messages/nobody").status_code == 404

    def test_copies_count_as_recipients(self, silent: httpx.Client) -> None:
        person = {"to": [{"email": "a@x.ie"}], "cc": [{"email": "b@x.ie"}], "bcc": [{"email": "c@x.ie"}]}
        assert send(silent, mail(personalizations=[person])).status_code == 202
        entries = silent.get("/sandbox/journal/entries").json()
        assert [entry["address"] for entry in entries] == ["a@x.ie", "b@x.ie", "c@x.ie"]

    def test_sent_twice_is_accepted_twice_and_found(self, silent: httpx.Client) -> None:
        send(silent, mail(2))
        send(silent, mail(1))
        assert counts(silent)["duplicates"] == 1
        assert silent.get("/sandbox/journal/duplicates").json() == {f"{UID}-0": 2}

    @pytest.mark.parametrize("key", ["", "Bearer wrong", SENDGRID_KEY, f"Basic {SENDGRID_KEY}"])
    def test_another_key_is_refused(self, silent: httpx.Client, key: str) -> None:
        answer = silent.post("/v3/mail/send", content=mail(), headers=MAIL | {"Authorization": key})
        assert answer.status_code == 401
        assert answer.json()["errors"][0]["message"].startswith("The provided authorization grant is invalid")

    def test_bad_recipients_are_named_and_nobody_is_taken(self, silent: httpx.Client) -> None:
        people = [{"to": [{"email": email}]} for email in ("a@x.ie", "nobody", "b@x.ie", "two@@x.ie")]
        answer = send(silent, mail(personalizations=people))
        assert answer.status_code == 400
        errors = answer.json()["errors"]
        assert [e["field"] for e in errors] == [
            "personalizations.1.to.0.email",
            "personalizations.3.to.0.email",
        ]
        assert set(errors[0]) == {"message", "field", "help"}
        assert counts(silent)["accepted"] == 0

    def test_what_is_not_json_is_a_bad_request(self, silent: httpx.Client) -> None:
        assert send(silent, b"{").json() == {
            "errors": [{"message": "Bad Request", "field": None, "help": None}]
        }

    def test_another_content_type_is_refused(self, silent: httpx.Client) -> None:
        headers = MAIL | {"Content-Type": "text/plain"}
        assert silent.post("/v3/mail/send", content=mail(), headers=headers).status_code == 415

    def test_another_method_is_refused_in_sendgrids_words(self, silent: httpx.Client) -> None:
        answer = silent.get("/v3/mail/send", headers=MAIL)
        assert answer.status_code == 405
        assert answer.json()["errors"][0]["message"] == "method not allowed"

    def test_a_body_of_30_mb_is_too_large(self, silent: httpx.Client) -> None:
        body = mail()
        body += b" " * (MAX_BODY_BYTES - len(body))
        assert send(silent, body[:-1]).status_code == 202
        answer = send(silent, body)
        assert answer.status_code == 413
        assert answer.headers["Content-Type"].startswith("text/html")

    def test_sandbox_mode_validates_and_takes_nothing(self, silent: httpx.Client) -> None:
        mode: dict[str, Any] = {"mail_settings": {"sandbox_mode": {"enable": True}}}
        assert send(silent, mail(**mode)).status_code == 200
        assert send(silent, mail(**mode, personalizations=[])).status_code == 400
        assert counts(silent)["accepted"] == 0
        assert silent.get("/sandbox/outbox").json() == {"pending": 0, "posted": 0}

    def test_a_sender_that_is_not_verified_is_forbidden(self, http: httpx.Client) -> None:
        stranger: dict[str, Any] = {"from": {"email": "shop@elsewhere.example"}}
        answer = send(http, mail(**stranger))
        assert answer.status_code == 403
        assert answer.json()["errors"][0]["field"] == "from"
        assert send(http, mail()).status_code == 202


class TestSms:
    def test_every_profile_accepts_in_its_own_words(self, silent: httpx.Client) -> None:
        rest2 = {"messagetext": "Hi", "recipients": ["353861234567"], "customerid": f"{UID}-2"}
        rest3 = {"message": "Hi", "mobile_number": "+353861234567", "customer_id": f"{UID}-3"}
        v1 = silent.post("/v1/messages", json=sms(1), headers=SMS)
        assert v1.json().keys() == {"id", "status"}
        assert silent.post("/v2/send", json=rest2, headers=SMS).json() == {"status": "OK", "statusCode": 0}
        assert silent.post("/3.0/send", json=rest3, headers=SMS).json() == {"is_successful": True}
        assert counts(silent)["providers"] == {"sendmode": 3}
        entries = silent.get("/sandbox/journal/entries").json()
        assert [entry["reference"] for entry in entries] == [f"{UID}-{number}" for number in (1, 2, 3)]
        assert {entry["address"] for entry in entries} == {"+353861234567"}
        assert entries[0]["request_id"] == v1.json()["id"]
        assert silent.get(f"/sandbox/messages/{UID}-1").json()["text"] == "Hi €"

    def test_a_wrong_key_and_a_wrong_number_are_refused(self, silent: httpx.Client) -> None:
        assert silent.post("/v1/messages", json=sms(), headers={"Authorization": "x"}).status_code == 401
        assert silent.post("/v1/messages", json=sms() | {"to": "087"}, headers=SMS).status_code == 422
        assert silent.post("/v1/messages", content=b"{", headers=SMS).status_code == 400
        rest3 = silent.post("/3.0/send", json={"message": "Hi", "mobile_number": "087"}, headers=SMS)
        assert rest3.json() == {"is_successful": False, "error_message": "the number is not valid"}
        assert counts(silent)["accepted"] == 0


class TestWebhooks:
    def test_events_of_everybody_arrive_signed(
        self, http: httpx.Client, platform: Receiver, config: SandboxConfig
    ) -> None:
        request_id = send(http, mail(1000)).headers["X-Message-Id"]
        until(lambda: is_all_posted(http))
        webhook = EventWebhook(ensure_keypair(config.home))
        for post in platform.received:
            text, signed = post.body.decode(), {name.lower(): value for name, value in post.headers.items()}
            signature = signed["x-twilio-email-event-webhook-signature"]
            timestamp = signed["x-twilio-email-event-webhook-timestamp"]
            assert webhook.verify_signature(text, signature, timestamp)
            assert text.endswith("]\r\n")
            assert text.count("},\r\n{") == len(orjson.loads(text)) - 1
            assert len(post.body) < 768_000
        events = platform.events()
        assert {event["ics_message"] for event in events} == {f"{UID}-{number}" for number in range(1000)}
        assert http.get("/sandbox/outbox").json()["posted"] == len(events)
        delivered = [event for event in events if event["event"] == "delivered"]
        assert all(event["sg_message_id"].startswith(request_id) for event in delivered)

    def test_reports_arrive_in_every_way_signed(self, http: httpx.Client, platform: Receiver) -> None:
        for number in range(12):
            http.post("/v1/messages", json=sms(number), headers=SMS)
        until(lambda: is_all_posted(http))
        reports = [post for post in platform.received if post.path == "/webhooks/sendmode/delivery"]
        for post in reports:
            signed = {name.lower(): value for name, value in post.headers.items()}
            raw = post.query.encode() if post.method == "GET" else post.body
            assert signed["x-sendmode-signature"] == sign_report(SECRET, signed["x-sendmode-timestamp"], raw)
        kinds = {(post.method, post.headers.get("Content-Type")) for post in reports}
        assert kinds == {
            ("GET", None), ("POST", "application/json"), ("POST", "application/x-www-form-urlencoded"),
        }  # fmt: skip

    def test_a_report_without_true_in_the_answer_comes_again(
        self, http: httpx.Client, platform: Receiver
    ) -> None:
        platform.answer = b"ok"
        http.post("/v1/messages", json=sms(), headers=SMS)
        until(lambda: len(platform.received) >= 3)
        assert not is_all_posted(http)
        platform.answer = b"<p>True</p>"
        until(lambda: is_all_posted(http))

    def test_what_is_refused_comes_again(self, http: httpx.Client, platform: Receiver) -> None:
        platform.status = 503
        send(http, mail(5))
        until(lambda: platform.received)
        refused = platform.events()
        assert not is_all_posted(http)
        platform.received.clear()
        platform.status = 204
        until(lambda: is_all_posted(http))
        ids = {event["sg_event_id"] for event in platform.events()}
        assert {event["sg_event_id"] for event in refused} <= ids

    def test_a_restart_goes_on_posting_and_keeps_the_journal(
        self, config: SandboxConfig, platform: Receiver
    ) -> None:
        platform.status = 503
        with serving(config) as url, httpx.Client(base_url=url, trust_env=False) as client:
            send(client, mail(50))
            until(lambda: platform.received)
            pending = client.get("/sandbox/outbox").json()["pending"]
        platform.received.clear()
        platform.status = 200
        with serving(config) as url, httpx.Client(base_url=url, trust_env=False) as client:
            until(lambda: is_all_posted(client))
            assert counts(client)["accepted"] == 50
            assert client.get("/sandbox/outbox").json() == {"pending": 0, "posted": pending}
        assert {event["ics_message"] for event in platform.events()} == {f"{UID}-{n}" for n in range(50)}


class TestFaults:
    """Each kind: what the client sees, and whether the message was taken."""

    @pytest.fixture(params=["sendgrid", "sendmode"])
    def provider(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    def post(self, client: httpx.Client, provider: str) -> httpx.Response:
        if provider == "sendgrid":
            return send(client, mail())
        return client.post("/v1/messages", json=sms(), headers=SMS)

    def deliver(self, url: str, provider: str, *, timeout: float) -> BatchOutcome | MessageOutcome:
        """Post one message the way the engine does."""
        if provider == "sendgrid":
            with contextlib.closing(SendGridMessenger(url, SENDGRID_KEY, timeout_seconds=timeout)) as mailer:
                return mailer.send(mail())
        texter = SendmodeMessenger(
            url, SENDMODE_KEY, profile=SendmodeProfile.V1, timeout_seconds=timeout, concurrency=1
        )
        with contextlib.closing(texter):
            return texter.send(Sms("+353861234567", "Hi €", "TheShop", f"{UID}-1"))

    @pytest.mark.parametrize(("kind", "taken"), [("500_before", 0), ("500_after_accept", 1)])
    def test_500(self, sandbox: Sandbox, silent: httpx.Client, provider: str, kind: str, taken: int) -> None:
        sandbox.fail(provider, kind)
        assert self.post(silent, provider).status_code == 500
        assert counts(silent)["accepted"] == taken

    @pytest.mark.parametrize(
        ("kind", "error", "taken"),
        [
            ("reset_before", httpx.ReadError, 0),
            ("reset_after_accept", httpx.ReadError, 1),
            ("truncated", httpx.RemoteProtocolError, 1),
        ],
    )
    def test_broken_sockets(
        self,
        sandbox: Sandbox,
        silent: httpx.Client,
        provider: str,
        kind: str,
        error: type[Exception],
        taken: int,
    ) -> None:
        sandbox.fail(provider, kind)
        with pytest.raises((error, httpx.RemoteProtocolError)):
            self.post(silent, provider)
        assert counts(silent)["accepted"] == taken
        assert self.post(silent, provider).is_success

    def test_hang(self, sandbox: Sandbox, silent: httpx.Client, provider: str) -> None:
        sandbox.fail(provider, "hang", seconds=60)
        silent.timeout = httpx.Timeout(0.5)
        with pytest.raises(httpx.ReadTimeout):
            self.post(silent, provider)
        silent.timeout = httpx.Timeout(10)
        assert counts(silent)["accepted"] == 1

    def test_a_slow_drip_is_right_for_who_waits(
        self, sandbox: Sandbox, silent: httpx.Client, provider: str
    ) -> None:
        sandbox.fail(provider, "slow_drip", seconds=1)
        silent.timeout = httpx.Timeout(0.5)
        before = time.monotonic()
        assert self.post(silent, provider).is_success
        assert time.monotonic() - before >= 1
        assert counts(silent)["accepted"] == 1
        assert self.post(silent, provider).is_success

    def test_a_slow_drip_does_not_outlast_the_time_out(
        self, sandbox: Sandbox, silent: httpx.Client, provider: str
    ) -> None:
        sandbox.fail(provider, "slow_drip", seconds=60)
        before = time.monotonic()
        assert isinstance(self.deliver(sandbox.url, provider, timeout=1), Unknown)
        assert 1 <= time.monotonic() - before < 1.5
        assert counts(silent)["accepted"] == 1
        assert self.post(silent, provider).is_success

    def test_garbled(self, sandbox: Sandbox, silent: httpx.Client, provider: str) -> None:
        sandbox.fail(provider, "garbled")
        if provider == "sendgrid":
            with pytest.raises(httpx.RemoteProtocolError):
                self.post(silent, provider)
        else:
            answer = self.post(silent, provider)
            assert answer.status_code == 200
            with pytest.raises(ValueError, match=r"Extra data|Expecting"):
                answer.json()
        assert counts(silent)["accepted"] == 1

    def test_429_says_when_to_come_back(self, sandbox: Sandbox, silent: httpx.Client, provider: str) -> None:
        sandbox.fail(provider, "429", seconds=7)
        before = time.time()
        answer = self.post(silent, provider)
        assert answer.status_code == 429
        if provider == "sendgrid":
            assert answer.headers["X-RateLimit-Remaining"] == "0"
            assert int(answer.headers["X-RateLimit-Limit"]) > 0
            assert before + 7 <= int(answer.headers["X-RateLimit-Reset"]) <= time.time() + 8
        else:
            assert answer.headers["Retry-After"] == "7"
        assert counts(silent)["accepted"] == 0

    def test_latency_is_late_and_right(self, sandbox: Sandbox, silent: httpx.Client, provider: str) -> None:
        sandbox.fail(provider, "latency", seconds=0.3)
        before = time.monotonic()
        assert self.post(silent, provider).is_success
        assert time.monotonic() - before >= 0.3
        assert counts(silent)["accepted"] == 1

    def test_partial_refusal(self, sandbox: Sandbox, silent: httpx.Client) -> None:
        sandbox.fail("sendgrid", "partial_refusal")
        answer = send(silent, mail(12))
        assert answer.status_code == 400
        fields = [error["field"] for error in answer.json()["errors"]]
        assert fields == ["personalizations.0.to.0.email", "personalizations.10.to.0.email"]
        sandbox.fail("sendmode", "partial_refusal")
        assert silent.post("/v1/messages", json=sms(), headers=SMS).status_code == 422
        assert counts(silent)["accepted"] == 0

    def test_can_be_listed_and_cleared(self, sandbox: Sandbox, silent: httpx.Client) -> None:
        sandbox.fail("sendgrid", "429", count=3)
        send(silent, mail())
        listed = silent.get("/sandbox/faults").json()
        assert listed["fired"] == {"sendgrid:429": 1}
        assert [(fault["kind"], fault["count"]) for fault in listed["waiting"]] == [("429", 2)]
        silent.delete("/sandbox/faults")
        assert send(silent, mail()).status_code == 202

    @pytest.mark.parametrize(
        "fault", [{"kind": "429"}, {"provider": "sendgrid", "kind": "x"}, {"provider": "x", "kind": "429"}]
    )
    def test_an_unknown_one_is_refused(self, silent: httpx.Client, fault: dict[str, str]) -> None:
        assert silent.post("/sandbox/faults", json=fault).status_code == 422


class TestServer:
    def test_a_taken_port_is_a_clear_error(self, config: SandboxConfig) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(PortTaken, match=f"port {port} .* ICS_SANDBOX_PORT"):
                run(config, "127.0.0.1", port)

    def test_settings_say_where_it_lives_and_reports(self, tmp_path: Path) -> None:
        made = config_from_settings(Settings(home=tmp_path, api_port=8123, sendgrid_api_key="SG.x"))
        assert made.home == tmp_path / "sandbox"
        assert made.webhook_base_url == "http://127.0.0.1:8123"
        assert made.sendgrid_api_key == "SG.x"
