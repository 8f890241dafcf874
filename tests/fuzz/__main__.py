"""`python -m tests.fuzz`: for as long as you like what the suite does for a minute. Exit code 1 when an answer does not fit."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--examples", type=int, default=200, help="good requests to each operation, and bad ones"
    )
    parser.add_argument("--seed", type=int, default=20, help="of all that is drawn")
    parser.add_argument("--only", metavar="TEXT", default="", help="operations with this in their name")
    options = parser.parse_args(argv)
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="ics-fuzz-") as name:
        home = Path(name)
        from tests.fuzz.api import Fuzzer, environment

        os.environ.update(environment(home))
        fuzzer = Fuzzer(home)
        wrong = 0
        for operation in fuzzer.operations():
            if options.only not in operation.label:
                continue
            found = fuzzer.run(operation, examples=options.examples, seed=options.seed)
            wrong += len(found)
            console.print(f"{operation.label}: {len(found) or 'fits'}", markup=False)
            for each in found:
                console.print(f"  {each}", markup=False)
    console.print(f"{wrong} answers do not fit" if wrong else "every answer fits")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
