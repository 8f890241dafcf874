"""A part of `make hostile`: what strangers send is refused, and leaves nothing behind."""

import socket
import time
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.faults.hostile import attack, open_target, resident_bytes
from tests.faults.hostile_requests import Attacker

pytestmark = pytest.mark.slow


def test_a_thousand_hostile_requests_are_refused_and_leave_nothing(engine: Engine, tmp_path: Path) -> None:
    attacker = Attacker(seed=20)
    url = engine.url.render_as_string(hide_password=False)
    with open_target(url, tmp_path, attacker) as target:
        report = attack(target, attacker, count=1_000)
    assert report.violations == []
    assert sum(counter.total() for counter in report.statuses.values()) == 1_000


def test_connections_that_send_nothing_and_bodies_that_do_not_end_cost_little(
    engine: Engine, tmp_path: Path
) -> None:
    attacker = Attacker(seed=20)
    url = engine.url.render_as_string(hide_password=False)
    head = b"POST /webhooks/sendgrid HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    with open_target(url, tmp_path, attacker) as target:
        before = resident_bytes(target.pid)
        held = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(200)]
        try:
            for number, connection in enumerate(held):
                connection.sendall(head + b"x" * 1000 if number % 2 else head[:20])
            began = time.monotonic()
            report = attack(target, attacker, count=100)
            assert time.monotonic() - began < 10
            assert report.violations == []
            assert resident_bytes(target.pid) - before < 16 * 1024 * 1024
        finally:
            for connection in held:
                connection.close()
