"""`python -m tests.faults`: campaigns under faults, and an independent count of what became of every message.

The database server is the one of ICS_TEST_DATABASE_URL, else a private one. Exit code 1 on any violation.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from deployments.test_database import VARIABLE, throwaway_server
from tests.faults.prefect_stack import SCENARIOS
from tests.faults.report import as_json, line_of, passes, show, totals_of
from tests.faults.run import Outcome
from tests.faults.sabotage import Sabotage
from tests.faults.scenarios import LIGHT
from tests.faults.suite import LightRunner, Suite, run_on_stack


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    console = Console(highlight=False, width=int(os.environ.get("COLUMNS", "190")))
    if options.list:
        return _list(console)
    started = time.monotonic()
    deadline = started + options.minutes * 60
    suite = Suite()
    wanted = set(options.only or _names(options.sabotage))

    def say(outcome: Outcome) -> None:
        console.print(line_of(outcome))

    with _server() as url:
        LightRunner(
            server_url=url,
            seed=options.seed,
            deadline=deadline,
            sabotage=Sabotage(options.sabotage) if options.sabotage else None,
            say=say,
            suite=suite,
            logs=options.logs,
        ).run([each for each in LIGHT if each.name in wanted])
        on_stack = [name for name in SCENARIOS if name in wanted]
        run_on_stack(
            on_stack,
            server_url=url,
            seed=options.seed,
            deadline=deadline,
            say=say,
            suite=suite,
            logs=options.logs,
        )
    totals = totals_of(suite, seed=options.seed, seconds=time.monotonic() - started)
    show(console, suite, totals)
    if options.json:
        options.json.write_text(json.dumps(as_json(suite, totals), indent=1))
    return 0 if passes(suite) else 1


def _names(sabotage: str | None) -> list[str]:
    """All scenarios; only those with light workers where these are to be broken."""
    return [each.name for each in LIGHT] + ([] if sabotage else list(SCENARIOS))


def _list(console: Console) -> int:
    for scenario in LIGHT:
        console.print(f"{scenario.name:32} {scenario.what}")
    for name, (what, _) in SCENARIOS.items():
        console.print(f"{name:32} {what}")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()) % 100_000, help="of all that is drawn")
    parser.add_argument("--minutes", type=float, default=10.0, help="begin nothing that may take longer")
    names = [*_names(None)]
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=names, help="this scenario; may be repeated"
    )
    parser.add_argument("--sabotage", choices=[way.value for way in Sabotage], help="break the engine first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the logs of all processes there")
    parser.add_argument("--list", action="store_true", help="only show the scenarios")
    return parser.parse_args(argv)


@contextmanager
def _server() -> Iterator[str]:
    if url := os.environ.get(VARIABLE):
        yield url
        return
    with throwaway_server() as server:
        yield server.url


if __name__ == "__main__":
    raise SystemExit(main())
