"""Processes and their children, as Linux tells."""

import os
import signal
from contextlib import suppress
from pathlib import Path


def descendants(pid: int) -> dict[int, int]:
    """Every process that the process has started, directly or not: pid -> how many generations below it."""
    parents = _parents()
    found: dict[int, int] = {}
    generation, depth = {pid}, 0
    while generation := {child for child, parent in parents.items() if parent in generation}:
        depth += 1
        found |= dict.fromkeys(generation, depth)
    return found


def send(pid: int, number: signal.Signals) -> None:
    """Signal a process that may be gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _parents() -> dict[int, int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    return parents
