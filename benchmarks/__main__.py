"""Messages, rows and milliseconds: ours beside the bare limit and the naive ways, in one run, on one machine.

make bench                                   everything (about ten minutes)
make bench ARGS="--quick"                    10,000 recipients, no peers
make bench ARGS="--sizes 100000 --only engine bare"
make bench ARGS="--only audience --clients 1000000"
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks import bare, engine, limits, live, peer_celery, peer_prefect
from benchmarks.api.pages import measure as measure_pages
from benchmarks.api.pages import page_verdicts
from benchmarks.audience.measuring import audience_verdicts, print_audience
from benchmarks.audience.measuring import measure as measure_audience
from benchmarks.feedback.measuring import feedback_verdicts
from benchmarks.feedback.measuring import measure as measure_feedback
from benchmarks.measured import Row
from benchmarks.peer_work import PeerMissing
from benchmarks.plot import draw
from benchmarks.report import print_table, verdicts
from benchmarks.workload import add_clients, add_flow, sink
from db.engine import Database, Session, make_engine
from db.migrate import downgrade, upgrade
from db.states import Channel

SIZES = (10_000, 100_000, 1_000_000)
SMS_MESSAGES = 10_000
SMALL = 50
LIMITED = {channel: rate * limits.SECONDS for channel, rate in limits.RATES.items()}
PREFECT_RECIPIENTS = 500
CELERY_RECIPIENTS = 1_000
SENDING = ("starts", "engine", "bare", "sms", "limits", "peers")
PARTS = (*SENDING, "audience", "feedback", "live", "pages")
LISTENED = 100_000
QUICK_LISTENED = 10_000
CLIENTS = 1_000_000
QUICK_CLIENTS = 50_000
EVENTS = 200_000
QUICK_EVENTS = 20_000
console = Console(highlight=False)


def main() -> None:
    """Measure, print a line of JSON for each figure and a table in the end."""
    arguments = _arguments()
    # As an error it passes through the contexts that stop what they have started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    url = os.environ["ICS_TEST_DATABASE_URL"]
    sizes = (10_000,) if arguments.quick else tuple(arguments.sizes)
    parts = tuple(part for part in arguments.only if not (arguments.quick and part == "peers"))
    rows: list[Row] = []

    def note(row: Row) -> None:
        rows.append(row)
        line = json.dumps(row.document())
        print(line, flush=True)
        if arguments.json:
            with arguments.json.open("a") as file:
                file.write(line + "\n")

    with sink() as address:
        if set(parts) & set(SENDING):
            _measure_sending(url, address, sizes, parts, note)
            print_table(console, rows)
            for line in verdicts(rows):
                console.print(line)
        if "audience" in parts:
            sent = len(rows)
            clients = QUICK_CLIENTS if arguments.quick else arguments.clients
            with _empty(url) as database:
                measure_audience(url, database, address, clients, note)
            print_audience(console, rows[sent:])
            for line in audience_verdicts(rows[sent:]):
                console.print(line)
        _measure_the_rest(url, address, arguments, parts, rows, note)
    if arguments.plot:
        draw(rows, arguments.plot)


def _measure_the_rest(
    url: str,
    address: str,
    arguments: argparse.Namespace,
    parts: tuple[str, ...],
    rows: list[Row],
    note: Callable[[Row], None],
) -> None:
    if "live" in parts:
        _measure_live(url, address, QUICK_LISTENED if arguments.quick else LISTENED, rows, note)
    if "feedback" in parts:
        _measure_feedback(url, QUICK_EVENTS if arguments.quick else arguments.events, rows, note)
    if "pages" in parts:
        _measure_pages(url, rows, note)


def _measure_sending(
    url: str, address: str, sizes: tuple[int, ...], parts: tuple[str, ...], note: Callable[[Row], None]
) -> None:
    with _empty(url) as database:
        flows = database.run(lambda s: _populate(s, sizes))
        _measure_platform(url, address, flows, sizes, parts, note)
        _measure_bare(database, address, flows, sizes, parts, note)
        for channel in Channel if "limits" in parts else ():
            note(limits.keep_to_rate(url, address, channel, flows[channel, LIMITED[channel]]))
        if "peers" in parts:
            _measure_peers(url, address, note)


def _measure_live(
    url: str, address: str, recipients: int, rows: list[Row], note: Callable[[Row], None]
) -> None:
    before = len(rows)
    with _empty(url) as database:
        flows = database.run(lambda s: _populate(s, (recipients,)))
        with engine.platform(url, address) as (local, client):
            for row in live.measure(local, client, address, flows[Channel.EMAIL, recipients], recipients):
                note(row)
    for line in live.live_verdicts(rows[before:]):
        console.print(line)


def _measure_feedback(url: str, events: int, rows: list[Row], note: Callable[[Row], None]) -> None:
    before = len(rows)
    with _empty(url) as database:
        measure_feedback(url, database, events, note)
    for line in feedback_verdicts(rows[before:]):
        console.print(line)


def _measure_pages(url: str, rows: list[Row], note: Callable[[Row], None]) -> None:
    before = len(rows)
    with _empty(url) as database:
        try:
            measure_pages(url, database, note)
        except PeerMissing as missing:
            console.print(f"pages are not measured: {missing}")
            return
    for line in page_verdicts(rows[before:]):
        console.print(line)


@contextmanager
def _empty(url: str) -> Iterator[Database]:
    """The database with empty tables."""
    downgrade(url, "base")
    upgrade(url)
    database = Database(make_engine(url))
    try:
        yield database
    finally:
        database.engine.dispose()


def _populate(session: Session, sizes: tuple[int, ...]) -> dict[tuple[Channel, int], int]:
    add_clients(session, max(*sizes, SMS_MESSAGES))
    wanted = [(Channel.EMAIL, size) for size in (SMALL, *sizes)] + [(Channel.SMS, SMS_MESSAGES)]
    wanted += list(LIMITED.items())
    return {
        (channel, size): add_flow(session, f"{channel} to {size}", size, channel)
        for channel, size in dict.fromkeys(wanted)
    }


def _measure_platform(
    url: str,
    address: str,
    flows: dict[tuple[Channel, int], int],
    sizes: tuple[int, ...],
    parts: tuple[str, ...],
    note: Callable[[Row], None],
) -> None:
    if not {"starts", "engine", "sms"} & set(parts):
        return
    with engine.platform(url, address) as (local, client):
        if "starts" in parts:
            note(engine.starts(local, client, address, flows[Channel.EMAIL, SMALL], SMALL))
        for size in sizes if "engine" in parts else ():
            flow = flows[Channel.EMAIL, size]
            note(engine.send(local, client, address, flow, size, "engine email"))
        if "sms" in parts:
            flow = flows[Channel.SMS, SMS_MESSAGES]
            note(engine.send(local, client, address, flow, SMS_MESSAGES, "engine SMS"))


def _measure_bare(
    database: Database,
    address: str,
    flows: dict[tuple[Channel, int], int],
    sizes: tuple[int, ...],
    parts: tuple[str, ...],
    note: Callable[[Row], None],
) -> None:
    for size in sizes if "bare" in parts else ():
        note(bare.email_at_the_limit(database, address, flows[Channel.EMAIL, size], size))
    if "sms" in parts:
        flow = flows[Channel.SMS, SMS_MESSAGES]
        note(bare.sms_at_the_limit(database, address, flow, SMS_MESSAGES))
    if "bare" in parts:
        note(bare.one_request_each(address, 1000))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10,000 recipients, no peers")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="recipients of the emails")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="clients of the audience")
    parser.add_argument("--events", type=int, default=EVENTS, help="webhook events of the feedback")
    parser.add_argument("--plot", type=Path, help="also draw the figures into this SVG")
    parser.add_argument("--json", type=Path, help="also append the lines of JSON to this file")
    return parser.parse_args()


def _measure_peers(url: str, address: str, note: Callable[[Row], None]) -> None:
    """One task for each recipient; on fewer recipients, since a rate is all that is asked."""
    for name, measure, recipients in (
        ("one Prefect task each", peer_prefect.measure, PREFECT_RECIPIENTS),
        ("one Celery task each", peer_celery.measure, CELERY_RECIPIENTS),
    ):
        try:
            found = measure(url, address, recipients)
        except PeerMissing as missing:
            console.print(f"{name}: left out, {missing}")
        else:
            note(Row(name, recipients, float(str(found["seconds"]))))


if __name__ == "__main__":
    main()
