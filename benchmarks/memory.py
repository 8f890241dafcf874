"""How much memory a process and its descendants take, looked at while something else runs."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.5


@dataclass
class Peak:
    """Megabytes: `tree` of all processes together, pages that they share counted once; `process` of the largest."""

    tree: float = 0.0
    process: float = 0.0


@contextmanager
def watched(pid: int) -> Iterator[Peak]:
    """Look at the process and its descendants until the block ends; Linux only, elsewhere the peak stays 0."""
    peak, stop = Peak(), threading.Event()

    def watch() -> None:
        while not stop.wait(_EVERY_SECONDS):
            sizes = [_sizes(each) for each in _tree(pid)]
            peak.tree = max(peak.tree, sum(pss for pss, _ in sizes) / 1024)
            peak.process = max(peak.process, max((rss for _, rss in sizes), default=0) / 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _tree(pid: int) -> set[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _sizes(pid: int) -> tuple[int, int]:
    """Proportional and resident size in KiB."""
    found = {"Pss:": 0, "Rss:": 0}
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, value, *_ = [*line.split(), "", ""]
            if name in found:
                found[name] = int(value)
    except (OSError, ValueError):
        pass
    return found["Pss:"], found["Rss:"]
