"""Other systems are told what happens: signed, at least once with one id, tried again, and never into a private network."""

import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from db.dialect import utc_in
from db.engine import Database
from db.errors import Invalid
from db.models import OutgoingDelivery, OutgoingEvent, WebhookEndpoint
from db.queries import executions, outgoing
from db.queries.suppressions import SuppressionChange, apply_suppressions
from db.states import Channel, DeliveryState, EventType, ExecutionState, SuppressionReason
from settings import get_settings
from tasks.outgoing import delivering
from tasks.outgoing.addresses import Unreachable, check_url, find_target, is_public
from tasks.outgoing.delivering import BACKOFF, SHARE, again_in, deliver_due, forget_old
from tests.builders import add_campaign, add_clients
from tests.e2e.platform import wait_until
from tests.integration.api.answers import created, fields_of, problem_of

PUBLIC = "https://crm.example.com/hook"


class Receiver:
    """An endpoint on a socket: keeps what it gets, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.may_answer = threading.Event()
        self.may_answer.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
                receiver.may_answer.wait(10)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?a=1"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("ICS_WEBHOOK_ALLOW_PRIVATE", "true")
    get_settings.cache_clear()
    found = Receiver()
    yield found
    found.stop()


def subscribe(api: TestClient, receiver: Receiver, *events: EventType) -> dict[str, Any]:
    return created(api, "/api/webhook-endpoints", url=receiver.url, events=[each.value for each in events])


def deliver(database: Database) -> int:
    return deliver_due(database, get_settings())


def make_due(database: Database) -> None:
    database.run(lambda s: s.execute(update(OutgoingDelivery).values(due_at=utc_in(-1))))


def complete(database: Database) -> int:
    """An execution with nobody to send to, which is over at once."""

    def work(session: Any) -> int:
        execution = executions.insert_execution(session, add_campaign(session).flow)
        sizes = {Channel.EMAIL: 10, Channel.SMS: 10}
        assert (
            executions.prepare_execution(session, execution.id, batch_sizes=sizes) is ExecutionState.SENDING
        )
        assert executions.settle_execution(session, execution.id) is ExecutionState.COMPLETED
        return execution.id

    return database.run(work)


def test_a_completed_execution_is_told_with_a_signature_that_holds(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    secret = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)["secret"]
    execution_id = complete(database)
    assert deliver(database) == 1
    ((headers, body),) = receiver.requests
    document = Webhook(secret).verify(body, headers)
    assert document["type"] == "execution.completed"
    assert document["data"]["execution_id"] == execution_id
    assert headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)
    assert deliver(database) == 0


def test_who_unsubscribes_is_told_of_once_and_without_an_address(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    subscribe(api, receiver, EventType.CLIENT_UNSUBSCRIBED)
    (client_id,) = database.run(lambda s: add_clients(s, 1, email="ada@example.com"))
    said = SuppressionChange(
        Channel.EMAIL, "ada@example.com", SuppressionReason.ONE_CLICK, datetime.now(UTC), "link"
    )
    stranger = SuppressionChange(
        Channel.EMAIL, "nobody@example.com", SuppressionReason.ONE_CLICK, datetime.now(UTC), "link"
    )
    for _ in range(2):
        database.run(lambda s: apply_suppressions(s, [said, stranger]))
    deliver(database)
    ((_, body),) = receiver.requests
    data = orjson.loads(body)["data"]
    assert (data["client_id"], data["channel"], data["reason"]) == (client_id, "email", "one_click")
    assert b"example.com" not in body


def test_what_is_rolled_back_is_told_nobody(api: TestClient, database: Database, receiver: Receiver) -> None:
    subscribe(api, receiver, EventType.IMPORT_FINISHED)

    def work(session: Any) -> None:
        assert outgoing.tell(session, EventType.IMPORT_FINISHED, lambda: [{"import_id": 1}]) == 1
        raise Invalid("x", "no")

    with pytest.raises(Invalid):
        database.run(work)
    assert deliver(database) == 0


def test_what_nobody_wants_to_know_is_not_even_asked_for(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    subscribe(api, receiver, EventType.IMPORT_FINISHED)

    def never() -> list[dict[str, Any]]:
        raise AssertionError

    assert database.run(lambda s: outgoing.tell(s, EventType.MESSAGE_BOUNCED, never)) == 0
    with database.reading() as s:
        assert s.scalar(select(func.count()).select_from(OutgoingEvent)) == 0


def test_every_fact_is_told_to_every_endpoint_that_wants_it(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    for _ in range(3):
        subscribe(api, receiver, EventType.MESSAGE_BOUNCED)
    subscribe(api, receiver, EventType.PING)
    facts = [{"message_id": number} for number in range(1_200)]
    database.run(lambda s: outgoing.tell(s, EventType.MESSAGE_BOUNCED, lambda: facts))
    with database.reading() as s:
        pairs = s.execute(select(OutgoingDelivery.event_id, OutgoingDelivery.endpoint_id)).all()
    assert len(set(pairs)) == len(pairs) == 3_600


def test_an_endpoint_that_fails_keeps_no_other_waiting(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    broken = Receiver()
    broken.statuses = [500] * 500
    subscribe(api, broken, EventType.MESSAGE_BOUNCED)
    facts = [{"message_id": number} for number in range(300)]
    database.run(lambda s: outgoing.tell(s, EventType.MESSAGE_BOUNCED, lambda: facts))
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    assert deliver(database) == 1
    assert len(receiver.requests) == 1
    assert 1 <= len(broken.requests) < 100
    broken.stop()


def test_an_endpoint_that_is_slow_keeps_no_other_waiting(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    slow = Receiver()
    slow.may_answer.clear()
    subscribe(api, slow, EventType.MESSAGE_BOUNCED)
    facts = [{"message_id": number} for number in range(100)]
    database.run(lambda s: outgoing.tell(s, EventType.MESSAGE_BOUNCED, lambda: facts))
    other = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    told = threading.Thread(target=lambda: deliver(database))
    told.start()
    path = f"/api/webhook-endpoints/{other['id']}/deliveries?state=delivered"
    wait_until(lambda: len(slow.requests) == SHARE and len(api.get(path).json()["items"]) == 1)
    assert told.is_alive()
    slow.may_answer.set()
    told.join()
    assert len(slow.requests) == 100
    slow.stop()


def test_an_answer_that_drips_ends_in_time(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    monkeypatch.setattr(delivering, "TIMEOUT_SECONDS", 0.5)
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not over.wait(0.05):
                    connection.sendall(b"x")

        dripping = threading.Thread(target=drip)
        dripping.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        endpoint = created(api, "/api/webhook-endpoints", url=url, events=["execution.completed"])
        complete(database)
        assert deliver(database) == 0
        over.set()
        dripping.join()
    (shown,) = api.get(f"/api/webhook-endpoints/{endpoint['id']}/deliveries").json()["items"]
    assert (shown["state"], shown["status"], shown["error"]) == ("pending", None, "ReadTimeout")


def test_a_name_that_cannot_be_one_is_an_outcome_and_keeps_no_other_waiting(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = created(api, "/api/webhook-endpoints", url=PUBLIC, events=["execution.completed"])
    odd = update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint["id"])
    database.run(lambda s: s.execute(odd.values(url=f"https://{'a' * 70}.example.com/x")))
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    assert deliver(database) == 1
    assert len(receiver.requests) == 1


def test_what_was_not_taken_is_sent_again_with_the_same_id_and_body(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    receiver.statuses = [500, 429]
    assert deliver(database) == 0
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    (shown,) = api.get(f"{path}/deliveries").json()["items"]
    assert (shown["state"], shown["attempts"], shown["status"], shown["error"]) == (
        "pending",
        1,
        500,
        "answered 500",
    )
    assert api.get(path).json()["failing_since"] is not None
    assert deliver(database) == 0
    assert len(receiver.requests) == 1
    for _ in range(2):
        make_due(database)
        deliver(database)
    ids = {headers["webhook-id"] for headers, _ in receiver.requests}
    bodies = {body for _, body in receiver.requests}
    assert (len(receiver.requests), len(ids), len(bodies)) == (3, 1, 1)
    assert api.get(path).json()["failing_since"] is None
    (shown,) = api.get(f"{path}/deliveries?state=delivered").json()["items"]
    assert (shown["status"], shown["error"]) == (204, None)


def test_a_process_that_died_after_its_post_is_followed_by_another_with_the_same_id(
    api: TestClient, database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    with monkeypatch.context() as patch:
        patch.setattr(outgoing, "record_delivery", lambda *_a, **_k: (_ for _ in ()).throw(SystemExit(9)))
        with pytest.raises(SystemExit):
            deliver(database)
    assert deliver(database) == 0  # Its lease is not over.
    make_due(database)
    assert deliver(database) == 1
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1


def test_who_lost_his_lease_writes_nothing(api: TestClient, database: Database, receiver: Receiver) -> None:
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    (old,) = database.run(lambda s: outgoing.claim_due(s, limit=10, share=10, lease_seconds=60))
    make_due(database)
    (new,) = database.run(lambda s: outgoing.claim_due(s, limit=10, share=10, lease_seconds=60))
    assert new.attempt == old.attempt + 1
    assert (
        database.run(lambda s: outgoing.record_delivery(s, old, status=500, error="late", again_in=None))
        is False
    )
    assert (
        database.run(lambda s: outgoing.record_delivery(s, new, status=204, error=None, again_in=None))
        is True
    )


def test_after_the_last_attempt_it_is_given_up_and_can_be_sent_by_hand(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    database.run(lambda s: s.execute(update(OutgoingDelivery).values(attempts=len(BACKOFF))))
    receiver.statuses = [500]
    deliver(database)
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    (given_up,) = api.get(f"{path}/deliveries?state=failed").json()["items"]
    make_due(database)
    assert deliver(database) == 0
    assert api.post(f"{path}/deliveries/{given_up['id']}/replay").json() == {"replayed": 1}
    assert deliver(database) == 1
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert api.post(f"{path}/replay", params={"since": since}).json() == {"replayed": 1}
    assert deliver(database) == 1
    problem_of(api.post(f"{path}/deliveries/999999/replay"), 404)


def test_an_endpoint_that_is_gone_or_fails_for_days_is_told_nothing_more(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    gone, broken = (subscribe(api, receiver, EventType.EXECUTION_COMPLETED) for _ in range(2))
    complete(database)
    receiver.statuses = [410, 410]
    deliver(database)
    shown = api.get(f"/api/webhook-endpoints/{gone['id']}").json()
    assert (shown["active"], shown["disabled_reason"]) == (False, "answered 410: it wants nothing more")
    path = f"/api/webhook-endpoints/{broken['id']}"
    api.patch(path, json={"active": True})
    days = -5 * 86400 - 1
    database.run(lambda s: s.execute(update(WebhookEndpoint).values(failing_since=utc_in(days))))
    deliver(database)
    assert api.get(path).json()["disabled_reason"] == "every attempt failed for 5 days"
    assert api.patch(path, json={"active": True}).json()["failing_since"] is None


def test_a_redirect_is_not_followed(api: TestClient, database: Database, receiver: Receiver) -> None:
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    receiver.statuses, receiver.headers = [302], {"Location": receiver.url}
    assert deliver(database) == 0
    assert len(receiver.requests) == 1


def test_while_a_secret_is_rotated_both_hold(api: TestClient, database: Database, receiver: Receiver) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    newer = api.post(f"{path}/rotate-secret").json()["secret"]
    assert newer != endpoint["secret"]
    complete(database)
    deliver(database)
    ((headers, body),) = receiver.requests
    for secret in (endpoint["secret"], newer):
        Webhook(secret).verify(body, headers)
    assert "secret" not in api.get(path).text
    with database.reading() as s:
        row = s.get_one(WebhookEndpoint, endpoint["id"])
        assert newer.encode() not in row.secret


def test_a_second_rotation_waits_for_the_end_of_the_first(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    second = api.post(f"{path}/rotate-secret").json()["secret"]
    refused = api.post(f"{path}/rotate-secret")
    assert "drop_old=true" in problem_of(refused, 409)["detail"]
    third = api.post(f"{path}/rotate-secret?drop_old=true").json()["secret"]
    complete(database)
    deliver(database)
    ((headers, body),) = receiver.requests
    Webhook(third).verify(body, headers)
    for secret in (endpoint["secret"], second):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)


def test_a_secret_that_signs_nothing_any_more_is_not_kept(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    api.post(f"{path}/rotate-secret")
    forget_old(database)
    with database.reading() as s:
        assert s.get_one(WebhookEndpoint, endpoint["id"]).old_secret is not None
    database.run(lambda s: s.execute(update(WebhookEndpoint).values(old_secret_until=utc_in(-1))))
    forget_old(database)
    with database.reading() as s:
        assert s.get_one(WebhookEndpoint, endpoint["id"]).old_secret is None
    assert api.post(f"{path}/rotate-secret").status_code == 200


def test_who_is_told_nothing_is_sent_no_ping(api: TestClient, database: Database, receiver: Receiver) -> None:
    endpoint = subscribe(api, receiver, EventType.PING)
    path = f"/api/webhook-endpoints/{endpoint['id']}"
    assert api.patch(path, json={"active": False}).status_code == 200
    refused = api.post(f"{path}/test")
    assert "activate" in problem_of(refused, 409)["detail"]


def test_a_ping_goes_to_one_endpoint(api: TestClient, database: Database, receiver: Receiver) -> None:
    endpoint = subscribe(api, receiver, EventType.IMPORT_FINISHED)
    subscribe(api, receiver, EventType.PING)
    assert api.post(f"/api/webhook-endpoints/{endpoint['id']}/test").status_code == 202
    assert deliver(database) == 1
    assert orjson.loads(receiver.requests[0][1])["type"] == "ping"


def test_what_was_told_is_forgotten_and_what_waits_is_not(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    database.run(lambda s: s.execute(update(OutgoingEvent).values(created_at=utc_in(-40 * 86400))))
    assert forget_old(database) == 0
    deliver(database)
    assert forget_old(database) == 1
    with database.reading() as s:
        assert s.scalars(select(OutgoingDelivery.state)).all() == []


def test_what_waits_for_an_endpoint_that_is_told_nothing_is_forgotten_after_a_month(
    api: TestClient, database: Database, receiver: Receiver
) -> None:
    endpoint = subscribe(api, receiver, EventType.EXECUTION_COMPLETED)
    complete(database)
    api.patch(f"/api/webhook-endpoints/{endpoint['id']}", json={"active": False})
    assert forget_old(database) == 0
    database.run(lambda s: s.execute(update(OutgoingEvent).values(created_at=utc_in(-40 * 86400))))
    assert forget_old(database) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://crm.example.com/",
        "ftp://crm.example.com/",
        "https://user:pw@crm.example.com/",
        "https://crm.example.com:22/",
        "https://crm.example.com/#x",
        "https://crm..example.com/",
        f"https://{'a' * 64}.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://",
        "https://crm.example.com:99999/",
        "https://exämple.com/",
        "https://crm.example.com/a b",
        "javascript:alert(1)",
    ],
)
def test_an_address_that_no_webhook_may_have_is_refused(api: TestClient, url: str) -> None:
    body = {"url": url, "events": ["ping"]}
    assert "body.url" in fields_of(api.post("/api/webhook-endpoints", json=body))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:1::1"),
    ],
)
def test_no_private_address_is_reached_by_any_name(address: str) -> None:
    with pytest.raises(Unreachable, match="private"):
        find_target(PUBLIC, allow_private=False, resolve=lambda _h, _p: ["93.184.215.14", address])


def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    target = find_target(PUBLIC, allow_private=False, resolve=lambda _h, _p: next(answers))
    # A name that leads elsewhere a moment later is not asked again.
    assert target.url == "https://93.184.215.14:443/hook"
    assert (target.host, target.host_header) == ("crm.example.com", "crm.example.com")
    with pytest.raises(Unreachable):
        find_target(PUBLIC, allow_private=False, resolve=lambda _h, _p: next(answers))


def test_a_name_that_is_not_known_is_an_outcome_and_no_error(
    api: TestClient, database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = created(api, "/api/webhook-endpoints", url="https://nowhere.invalid/", events=["ping"])
    api.post(f"/api/webhook-endpoints/{endpoint['id']}/test")
    assert deliver(database) == 0
    with database.reading() as s:
        row = s.scalars(select(OutgoingDelivery)).one()
        assert (row.state, row.error) == (DeliveryState.PENDING, "the name of the host is not known")


@given(st.ip_addresses())
def test_what_is_public_is_of_the_open_internet(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not any((address.is_private, address.is_loopback, address.is_link_local, address.is_multicast))


@given(st.text(max_size=60))
def test_no_text_is_an_error_of_ours(text: str) -> None:
    with suppress(Invalid):
        check_url(text, allow_private=False)


def test_pauses_grow_over_three_days() -> None:
    pauses = [again_in(number, jitter=0.5) for number in range(1, len(BACKOFF) + 2)]
    assert pauses[-1] is None
    assert pauses[:-1] == sorted(pauses[:-1])  # type: ignore[type-var]
    assert 2.5 * 86400 < sum(filter(None, pauses)) < 4 * 86400
