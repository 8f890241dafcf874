"""Messages a second: our engine beside the bare limit and the naive ways, in one run, on one machine.

make bench                                   everything (about ten minutes)
make bench ARGS="--quick"                    10,000 recipients, no peers
make bench ARGS="--sizes 100000 --only engine bare"
"""

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from benchmarks import bare, engine
from benchmarks.measured import Row
from benchmarks.report import print_table, verdicts
from benchmarks.workload import add_clients, add_flow, sink
from db.engine import Database, make_engine
from db.migrate import downgrade, upgrade
from db.states import Channel

SIZES = (10_000, 100_000, 1_000_000)
SMS_MESSAGES = 10_000
SMALL = 50
PARTS = ("starts", "engine", "bare", "sms", "peers")
console = Console(highlight=False)


def main() -> None:
    """Measure, print a line of JSON for each figure and a table in the end."""
    arguments = _arguments()
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

    downgrade(url, "base")
    upgrade(url)
    database = Database(make_engine(url))
    flows = database.run(lambda s: _populate(s, sizes))
    with sink() as address:
        _measure_platform(url, address, flows, sizes, parts, note)
        _measure_bare(database, address, flows, sizes, parts, note)
    database.engine.dispose()
    if "peers" in parts:
        _measure_peers(url, note)
    print_table(console, rows)
    for line in verdicts(rows):
        console.print(line)


def _populate(session: object, sizes: tuple[int, ...]) -> dict[tuple[Channel, int], int]:
    from sqlalchemy.orm import Session

    assert isinstance(session, Session)
    add_clients(session, max(*sizes, SMS_MESSAGES))
    wanted = [(Channel.EMAIL, size) for size in (SMALL, *sizes)] + [(Channel.SMS, SMS_MESSAGES)]
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
    parser.add_argument("--json", type=Path, help="also append the lines of JSON to this file")
    return parser.parse_args()


def _measure_peers(url: str, note: Callable[[Row], None]) -> None:
    """See `peer_prefect.py` and `peer_celery.py`."""


if __name__ == "__main__":
    main()
