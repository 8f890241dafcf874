"""`python -m tests.faults.random_requests`: thousands of requests drawn at random against one API process on a socket.

Paths, methods, queries, headers and bodies are drawn from a seed: shapes of the API with wrong contents, broken JSON, deep JSON, large
numbers, forms and bytes. Most of them come with a good token: of an admin, an editor or a viewer. No answer may be 5xx, and the process may
not grow. The database is that of ICS_TEST_DATABASE_URL, else SQLite. Exit code 1 when any of it does not hold.
"""

import argparse
import os
import random
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from rich.console import Console
from rich.table import Table

from api.app import create_app
from api.throttling import Budget
from db.engine import Database
from db.migrate import upgrade
from db.queries.tokens import create_token
from db.states import Role
from deployments.test_database import VARIABLE
from tests.faults.hostile import open_target, resident_bytes
from tests.faults.hostile_requests import Attacker
from tests.faults.rig import own_database
from tests.fuzz.installation import fill

MOST_GROWTH_BYTES: Final = 16 * 1024 * 1024
_WARM_UP: Final = 2_000
_AT_A_TIME: Final = 8
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_TYPES: Final = (
    *("application/json", "application/json", "application/json", "text/plain", "application/xml", ""),
    *(
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-7",
    ),
)
_VALUES: Final[tuple[Any, ...]] = (
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        -(2**63) - 1,
        1e308,
        -0.0,
        "",
        " ",
        "\x00",
        "\ud800",
        "𝕏" * 300,
    ),
    *(
        "ada@example.com",
        "+353871234567",
        "2026-01-01",
        "'; DROP TABLE x; --",
        "{{ 7*7 }}",
        "<script>",
        "../../etc",
    ),
    *([], {}, [[]], {"a": {"b": []}}, "x" * 5_000),
)
# Logging out would take the token from all who come after.
_LEFT_OUT: Final = frozenset({"/api/auth/logout", "/api/flow-executions/{execution_id}/events"})


@dataclass
class Report:
    """What became of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    memory: tuple[int, int] = (0, 0)
    seconds: float = 0.0

    @property
    def violations(self) -> list[str]:
        """What does not hold, in words."""
        found = list(self.errors[:20])
        if self.growth > MOST_GROWTH_BYTES:
            found.append(f"the process grew by {self.growth / 2**20:.0f} MB")
        return found

    @property
    def growth(self) -> int:
        """Bytes of resident memory after the warm-up, to the end."""
        return self.memory[1] - self.memory[0]


class Drawer:
    """Draws requests; the same seed draws the same ones."""

    def __init__(self, seed: int, tokens: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._tokens = tokens
        document = create_app().openapi()
        self._routes = sorted(
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
            if path not in _LEFT_OUT
        )
        self._names = sorted(
            {
                name
                for schema in document["components"]["schemas"].values()
                for name in schema.get("properties", {})
            }
        )

    def draw(self) -> dict[str, Any]:
        """The arguments of `httpx.Client.request`."""
        chance = self._random
        headers = {"Content-Type": chance.choice(_TYPES)}
        if chance.random() < 0.7:
            headers["Authorization"] = f"Bearer {chance.choice(self._tokens)}"
        elif chance.random() < 0.3:
            headers["Authorization"] = chance.choice(
                ("Bearer x", "Basic eDp4", "Bearer ics_" + "0" * 46, "x")
            )
        for name in ("Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID", "Last-Event-ID"):
            if chance.random() < 0.1:
                headers[name] = "".join(chance.choices(string.printable[:94], k=chance.randrange(40)))
        query = "&".join(
            f"{chance.choice((*self._names, 'limit', 'cursor', 'q'))}={chance.choice(('1', '-1', 'x', '%00', '9' * 30, '%ff'))}"
            for _ in range(chance.choice((0, 0, 0, 1, 3)))
        )
        method, path = chance.choice(self._routes)
        return {
            "method": method if chance.random() < 0.8 else chance.choice(_METHODS),
            "url": self._filled(path) + (f"?{query}" if query else ""),
            "headers": headers,
            "content": self._body(),
        }

    def _filled(self, path: str) -> str:
        chance = self._random
        if chance.random() < 0.03:
            return "/" + "".join(chance.choices(string.ascii_letters + string.digits + "/.%~", k=30)).replace(
                "%", "%25"
            )
        parts = path.split("/")
        drawn = ("1", "2", "3", "0", "-1", "9" * 20, "x", "%00", "..%2f", "%F0%9F%92%A5")
        return "/".join(chance.choice(drawn) if part.startswith("{") else part for part in parts)

    def _body(self) -> bytes:
        chance = self._random
        kind = chance.randrange(6)
        if kind == 0:
            return chance.randbytes(chance.choice((0, 1, 50, 5_000)))
        if kind == 1:
            return b"[" * chance.choice((1, 500, 50_000))
        if kind == 2:
            text = orjson.dumps(dict.fromkeys(chance.sample(self._names, 10), 1))
            return text[: chance.randrange(len(text))]
        if kind == 3:
            return b"&".join(
                f"{chance.choice(self._names)}=%{chance.randrange(256):02x}".encode()
                for _ in range(chance.randrange(20))
            )
        return self._json()

    def _json(self) -> bytes:
        import json

        names = self._random.sample(self._names, self._random.randrange(8))
        document = {name: self._value(2) for name in names}
        return json.dumps(document).encode()

    def _value(self, depth: int) -> Any:
        if depth and self._random.random() < 0.2:
            return {name: self._value(depth - 1) for name in self._random.sample(self._names, 3)}
        return self._random.choice(_VALUES)


def ask(port: int, pid: int, drawer: Drawer, *, count: int) -> Report:
    """Send `count` requests, several at a time."""
    report, began = Report(), time.monotonic()
    warm_up = min(_WARM_UP, count // 2)
    _send_all(port, [drawer.draw() for _ in range(warm_up)], report)
    memory = resident_bytes(pid)
    for start in range(warm_up, count, 1_000):
        _send_all(port, [drawer.draw() for _ in range(min(1_000, count - start))], report)
    report.memory = (memory, resident_bytes(pid))
    report.seconds = time.monotonic() - began
    return report


def _send_all(port: int, requests: Sequence[dict[str, Any]], report: Report) -> None:
    def send(request: dict[str, Any]) -> None:
        try:
            answer = client.request(**request)
        except (httpx.InvalidURL, httpx.LocalProtocolError, ValueError):
            return  # The client itself does not send it.
        except httpx.TransportError as error:
            report.statuses[0] += 1
            report.errors.append(f"{request['method']} {request['url'][:100]}: {type(error).__name__}")
            return
        report.statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            report.errors.append(
                f"{request['method']} {request['url'][:200]} {request['content'][:200]!r}: {answer.status_code} {answer.text[:200]}"
            )

    limits = httpx.Limits(max_connections=_AT_A_TIME)
    base = f"http://127.0.0.1:{port}"
    with (
        httpx.Client(base_url=base, timeout=30, limits=limits, trust_env=False) as client,
        ThreadPoolExecutor(_AT_A_TIME) as pool,
    ):
        list(pool.map(send, requests))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.random_requests", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    # More is asked here than anybody should ask.
    for budget in Budget:
        os.environ[f"ICS_LIMIT_{budget.name}"] = "100000000/minute"
    server = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory(prefix="ics-random-") as folder:
        home = Path(folder)
        with own_database(server) if server else nullcontext(f"sqlite:///{home / 'ics.db'}") as url:
            upgrade(url)
            with open_target(url, home, Attacker(options.seed)) as target:
                fill(target.database)
                tokens = _tokens(target.database)
                report = ask(target.port, target.pid, Drawer(options.seed, tokens), count=options.requests)
    table = Table("answer", "number")
    for status, number in sorted(report.statuses.items()):
        table.add_row(str(status), f"{number:,}")
    console.print(table)
    before, after = (each / 2**20 for each in report.memory)
    console.print(
        f"{report.statuses.total():,} answers in {report.seconds:.0f} s; memory {before:.1f} MB, {after:.1f} MB in the end"
    )
    for each in report.violations:
        console.print(f"WRONG: {each}", markup=False)
    return 1 if report.violations else 0


def _tokens(database: Database) -> list[str]:
    def make(role: Role) -> str:
        return database.run(lambda s: create_token(s, f"random {role}", role=role))[0]

    return [make(role) for role in Role]


if __name__ == "__main__":
    sys.exit(main())
