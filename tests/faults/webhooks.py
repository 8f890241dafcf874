"""`python -m tests.faults.webhooks`: events while the API and the database are killed, and a count of what became of them.

Signed events are posted as SendGrid does: several POSTs at once, each again until it is acknowledged, some twice. Meanwhile the API
process or the database server is killed with SIGKILL at random moments and started again. In the end every event that was
acknowledged has to be in the database once, the counts have to be those of the events and of a recount, and everything
sent again three times, shuffled, has to change nothing, byte for byte.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import create_engine, select, text

from benchmarks.feedback.events import PER_MESSAGE, Post, Signer, campaign_events
from benchmarks.feedback.measuring import accept_all
from benchmarks.feedback.picture import picture
from benchmarks.workload import add_clients, add_flow, open_execution
from db.base import PREFIX
from db.engine import Database, make_engine
from db.migrate import upgrade
from db.models import FlowExecution, Message
from db.states import Channel
from deployments.test_database import Server, throwaway_server
from tests.builders import free_port
from tests.faults import webhook_api

PROJECT: Final = Path(__file__).parents[2]
AT_A_TIME: Final = 4
TWICE: Final = 0.05
"""Of the POSTs that were acknowledged: the acknowledgement was lost on its way."""
_START_SECONDS: Final = 60.0
_APPLY_SECONDS: Final = 300.0


@dataclass
class Report:
    """What was done, and what is wrong: empty if nothing is."""

    events: int
    kills: Counter[str] = field(default_factory=Counter)
    posts: int = 0
    refused: int = 0
    twice: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


class Api:
    """The API in a process of its own, killed and started again on the same port."""

    def __init__(self, url: str, signer: Signer, folder: Path, sabotage: str | None) -> None:
        self.port = free_port()
        self._environment = {
            **os.environ,
            "ICS_HOME": str(folder),
            "ICS_DATABASE_URL": url,
            "ICS_API_PORT": str(self.port),
            "ICS_LOG_LEVEL": "ERROR",
            "SENDGRID_WEBHOOK_PUBLIC_KEYS": signer.public_key,
            webhook_api.VARIABLE: sabotage or "",
        }
        self._log = (folder / "api.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.faults.webhook_api"]
        self._process = subprocess.Popen(
            command, cwd=PROJECT, env=self._environment, stdout=self._log, stderr=self._log
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self.port}/health", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                if time.monotonic() > deadline:
                    raise SystemExit("the API did not start") from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._log.close()


def run(
    server: Server, *, events: int, kills: int, seed: int, sabotage: str | None = None, again: int = 3
) -> Report:
    """All of it, on an empty database of the server."""
    chance = random.Random(seed)
    upgrade(server.url)
    database = Database(make_engine(server.url))
    execution_id, facts = _prepare(database, events, seed)
    signer, report = Signer(), Report(len(facts))
    with tempfile.TemporaryDirectory(prefix="ics-faults-") as folder:
        api = Api(server.url, signer, Path(folder), sabotage)
        try:
            api.start()
            started = time.monotonic()
            _post_under_fire(api, server, _posts(signer, facts, chance), chance, kills, report)
            _wait_until_applied(server.url)
            report.seconds = time.monotonic() - started
            database.engine.dispose()
            report.violations += _check(server.url, execution_id, facts)
            if not report.violations:
                report.violations += _again(database, api, signer, execution_id, facts, chance, again)
        finally:
            api.close()
            database.engine.dispose()
    return report


def _prepare(database: Database, events: int, seed: int) -> tuple[int, list[dict[str, Any]]]:
    """An accepted campaign, and what SendGrid says of it."""

    def work(session: Any) -> int:
        recipients = round(events / PER_MESSAGE) + 1
        add_clients(session, recipients)
        execution_id = open_execution(session, add_flow(session, "faults", recipients, Channel.EMAIL))
        accept_all(session, execution_id)
        return execution_id

    execution_id = database.run(work)
    with database.reading() as session:
        uid = session.get_one(FlowExecution, execution_id).uid
        rows = session.execute(
            select(Message.id, Message.address).where(Message.execution_id == execution_id)
        )
        messages = [(message_id, address or "") for message_id, address in rows]
    return execution_id, campaign_events(uid, messages, seed)[:events]


def _posts(signer: Signer, facts: Sequence[dict[str, Any]], chance: random.Random) -> list[Post]:
    """Mostly of a thousand, some small, in an order of their own."""
    posts, first = [], 0
    while first < len(facts):
        size = 1000 if chance.random() < 0.8 else chance.randrange(1, 200)
        posts.append(signer.post(facts[first : first + size]))
        first += size
    chance.shuffle(posts)
    return posts


def _post_under_fire(
    api: Api, server: Server, posts: list[Post], chance: random.Random, kills: int, report: Report
) -> None:
    """Returns when every POST was acknowledged. A kill comes each time that a share of them is."""
    marks = sorted(chance.sample(range(1, max(len(posts) - 1, kills + 1)), kills))
    console = Console(highlight=False)
    columns = (TextColumn("webhooks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(posts))
        sender = _Sender(api.port, posts, chance, report, lambda: progress.advance(bar))
        sender.start()
        for number, mark in enumerate(marks):
            sender.wait_for(mark)
            time.sleep(chance.random() * 0.2)
            _kill("database" if number % 2 else "api", api, server, report)
        sender.join()


def _kill(what: str, api: Api, server: Server, report: Report) -> None:
    report.kills[what] += 1
    if what == "api":
        api.kill()
        api.start()
    else:
        server.kill()
        server.start()


class _Sender:
    """SendGrid: four POSTs at a time, each again until it is answered with 2xx."""

    def __init__(
        self, port: int, posts: list[Post], chance: random.Random, report: Report, advance: Callable[[], None]
    ) -> None:
        self._url = f"http://127.0.0.1:{port}/webhooks/sendgrid"
        self._waiting = list(posts)
        self._open = len(posts)
        self._done = 0
        self._chance = random.Random(chance.random())
        self._report = report
        self._advance = advance
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(AT_A_TIME)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def wait_for(self, done: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._done >= done)

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while (post := self._take()) is not None:
                self._note(post, is_acknowledged=_is_taken(client, self._url, post))

    def _take(self) -> Post | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            return self._waiting.pop(0) if self._waiting else None

    def _note(self, post: Post, *, is_acknowledged: bool) -> None:
        with self._changed:
            self._report.posts += 1
            if not is_acknowledged:
                self._report.refused += 1
                self._waiting.insert(self._chance.randrange(len(self._waiting) + 1), post)
            elif self._chance.random() < TWICE:
                self._report.twice += 1
                self._waiting.append(post)
            else:
                self._open -= 1
                self._done += 1
                self._advance()
            self._changed.notify_all()
        if not is_acknowledged:
            time.sleep(0.05)


def _is_taken(client: httpx.Client, url: str, post: Post) -> bool:
    try:
        return client.post(url, content=post.body, headers=post.headers).is_success
    except httpx.HTTPError:
        return False


def _wait_until_applied(url: str) -> None:
    deadline = time.monotonic() + _APPLY_SECONDS
    with _connected(url) as ask:
        while ask(f"SELECT COUNT(*) FROM {PREFIX}webhook_deliveries WHERE state <> 'applied'")[0][0]:
            if time.monotonic() > deadline:
                raise SystemExit("webhooks were not applied in time")
            time.sleep(0.1)


def _check(url: str, execution_id: int, facts: Sequence[dict[str, Any]]) -> list[str]:
    """Told from what was posted and from the tables alone; nothing of the product's counting is used."""
    with _connected(url) as ask:
        stored = Counter(row[0] for row in ask(f"SELECT provider_event_id FROM {PREFIX}events"))
        stats = dict(ask(f"SELECT * FROM {PREFIX}stats WHERE execution_id = {execution_id}")[0]._mapping)
        suppressed = {row[0] for row in ask(f"SELECT address FROM {PREFIX}unsubscribed WHERE active = 1")}
        kept = ask(f"SELECT COUNT(*) FROM {PREFIX}webhook_events")[0][0]
    posted = {each["sg_event_id"] for each in facts}
    lost, more = posted - stored.keys(), [key for key, count in stored.items() if count > 1]
    found = [f"{len(lost)} acknowledged events are lost"] if lost else []
    found += [f"{len(more)} events are stored more than once"] if more else []
    found += [f"{kept} events could not be applied"] if kept else []
    found += [
        f"{name} is {stats[name]}, and should be {count}"
        for name, count in _expected(facts).items()
        if stats[name] != count
    ]
    bad = {each["email"] for each in facts if _suppresses(each)}
    found += (
        [f"{len(bad ^ suppressed)} addresses are suppressed or not, wrongly"] if bad != suppressed else []
    )
    return found


def _expected(facts: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Messages by what was said of them, and opens and clicks."""

    def messages(chosen: Callable[[dict[str, Any]], bool]) -> int:
        return len({each["ics_message"] for each in facts if chosen(each)})

    human = [each for each in facts if each["event"] == "open" and not each["sg_machine_open"]]
    return {
        "processed": messages(lambda each: each["event"] == "processed"),
        "delivered": messages(lambda each: each["event"] == "delivered"),
        "bounced": messages(lambda each: each["event"] == "bounce" and each["type"] == "bounce"),
        "blocked": messages(lambda each: each["event"] == "bounce" and each["type"] == "blocked"),
        "opened": len({each["ics_message"] for each in human}),
        "opens": len(human),
        "clicked": messages(lambda each: each["event"] == "click"),
        "complained": messages(lambda each: each["event"] == "spamreport"),
        "unsubscribed": messages(lambda each: each["event"] == "unsubscribe"),
    }


def _suppresses(fact: dict[str, Any]) -> bool:
    return fact["event"] in ("spamreport", "unsubscribe") or fact.get("type") == "bounce"


def _again(
    database: Database,
    api: Api,
    signer: Signer,
    execution_id: int,
    facts: list[dict[str, Any]],
    chance: random.Random,
    times: int,
) -> list[str]:
    """Everything once more, shuffled: no table may differ by a byte."""
    before = picture(database, execution_id)
    for _ in range(times):
        chance.shuffle(facts)
        sender = _Sender(api.port, _posts(signer, facts, chance), chance, Report(0), lambda: None)
        sender.start()
        sender.join()
        _wait_until_applied(str(database.engine.url.render_as_string(hide_password=False)))
    after = picture(database, execution_id)
    return [
        f"{name} differs after everything was sent again" for name in before if before[name] != after[name]
    ]


@contextmanager
def _connected(url: str) -> Iterator[Callable[[str], Sequence[Any]]]:
    engine = create_engine(url, isolation_level="READ COMMITTED")

    def ask(statement: str) -> Sequence[Any]:
        with engine.connect() as connection:
            return connection.execute(text(statement)).all()

    try:
        yield ask
    finally:
        engine.dispose()


def show(report: Report, console: Console) -> None:
    table = Table("what", "count", title="Webhooks under fire")
    rows = {
        "events": report.events,
        "POSTs": report.posts,
        "not acknowledged, sent again": report.refused,
        "acknowledged, sent again all the same": report.twice,
        "kills of the API": report.kills["api"],
        "kills of the database": report.kills["database"],
    }
    for name, value in rows.items():
        table.add_row(name, f"{value:,}")
    table.add_row("seconds", f"{report.seconds:.0f}")
    console.print(table)
    for line in report.violations or ["nothing acknowledged was lost, nothing was counted twice"]:
        console.print(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.webhooks", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=12, help="of API and database in turn")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000)
    parser.add_argument("--sabotage", choices=[webhook_api.ACKNOWLEDGE_FIRST], help="break the inbox first")
    options = parser.parse_args(argv)
    console = Console(highlight=False)
    console.print(f"seed {options.seed}")
    with throwaway_server(durable=True) as server:
        report = run(
            server, events=options.events, kills=options.kills, seed=options.seed, sabotage=options.sabotage
        )
    show(report, console)
    return 1 if report.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
