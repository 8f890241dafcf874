"""An exchange ends at its time-out, however busy the other side keeps it."""

import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tasks.providers import bounded
from tasks.providers.http import exchange, make_client
from tasks.providers.outcomes import NotTaken, Unknown
from tests.unit.tasks.wire import Fault, reading_slowly, response, serving

TIMEOUT = 1.0


@contextmanager
def ending_in_time() -> Iterator[None]:
    before = time.monotonic()
    yield
    assert TIMEOUT <= time.monotonic() - before < 1.5 * TIMEOUT


def clock_of(monotonic: Callable[[], float]) -> SimpleNamespace:
    """In place of the module `time`."""
    return SimpleNamespace(monotonic=monotonic)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS; clients that are made from now on trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(IPv4Address("127.0.0.1"))
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    certificate = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False).sign(
        key, hashes.SHA256()
    )
    public, private = tmp_path / "certificate.pem", tmp_path / "key.pem"
    public.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(public, private)
    client = ssl.create_default_context(cafile=public)
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: client)
    return server


@pytest.mark.parametrize("drip", [Fault.DRIP, Fault.DRIP_BODY])
def test_an_answer_that_drips_over_tls(drip: Fault, tls: ssl.SSLContext) -> None:
    with serving(drip, tls=tls) as wire, make_client(TIMEOUT, 1) as client, ending_in_time():
        outcome = exchange(lambda: client.post(wire.url, content=b"{}"))
    assert isinstance(outcome, Unknown)
    assert "ReadTimeout" in outcome.reason


def test_a_large_body_arrives_whole_over_tls(tls: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 20_000
    with serving(response(202), tls=tls) as wire, make_client(30, 1) as client:
        for _ in range(2):
            assert isinstance(exchange(lambda: client.post(wire.url, content=body)), httpx.Response)
    assert [request.body == body for request in wire.requests] == [True, True]
    assert wire.connections == 1


@pytest.mark.parametrize("drip", [Fault.DRIP, Fault.DRIP_BODY])
def test_an_answer_that_drips(drip: Fault) -> None:
    with serving(drip) as wire, make_client(TIMEOUT, 1) as client, ending_in_time():
        outcome = exchange(lambda: client.post(wire.url, content=b"{}"))
    assert isinstance(outcome, Unknown)
    assert "ReadTimeout" in outcome.reason


def test_a_body_that_is_taken_in_slowly() -> None:
    # 20 MB at 5 MB a second: every single write gets on.
    with reading_slowly(5_000_000) as url, make_client(TIMEOUT, 1) as client, ending_in_time():
        outcome = exchange(lambda: client.post(url, content=b"x" * 20_000_000))
    assert isinstance(outcome, Unknown)
    assert "WriteTimeout" in outcome.reason


def test_a_tls_handshake_that_gets_no_answer_takes_no_message() -> None:
    with serving(Fault.HANG) as wire, make_client(TIMEOUT, 1) as client, ending_in_time():
        outcome = exchange(lambda: client.post(wire.url.replace("http", "https"), content=b"{}"))
    assert isinstance(outcome, NotTaken)


def test_a_connection_that_came_too_late_takes_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a slow look-up of the name: the time is over before anything could leave."""
    # The exchange begins, looks at its time, connects, and looks again.
    moments = chain([0.0, 0.0], repeat(TIMEOUT))
    monkeypatch.setattr(bounded, "time", clock_of(lambda: next(moments)))
    with serving(response(202)) as wire, make_client(TIMEOUT, 1) as client:
        outcome = exchange(lambda: client.post(wire.url, content=b"{}"))
    assert isinstance(outcome, NotTaken)
    assert wire.requests == []


def test_each_exchange_has_the_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(bounded, "time", clock_of(lambda: now))
    with serving(response(202)) as wire, make_client(TIMEOUT, 1) as client:
        for _ in range(3):
            assert isinstance(exchange(lambda: client.post(wire.url, content=b"{}")), httpx.Response)
            now += TIMEOUT
    assert wire.connections == 1


def test_threads_have_their_time_apart() -> None:
    outcomes = []

    def drip() -> None:
        with ending_in_time():
            outcomes.append(exchange(lambda: client.post(dripping.url, content=b"{}")))

    with serving(Fault.DRIP) as dripping, serving(response(202)) as quick, make_client(TIMEOUT, 4) as client:
        threads = [threading.Thread(target=drip) for _ in range(3)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert isinstance(exchange(lambda: client.post(quick.url, content=b"{}")), httpx.Response)
        for thread in threads:
            thread.join()
    assert [type(outcome) for outcome in outcomes] == [Unknown] * 3
