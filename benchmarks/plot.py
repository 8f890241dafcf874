"""The picture of a run for the documentation: messages a second, on a scale where each step is ten times the last."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measured import Row

_OURS, _LIMIT, _PEER = "#1f6f8b", "#9aa5ab", "#d08a3c"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write an SVG of all rows that are rates.

    Raises:
        ModuleNotFoundError: matplotlib is not here; `make bench` installs it.
    """
    import matplotlib

    matplotlib.use("svg")
    # Text as text, and no date and no random names, so that the same figures give the same file.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ics", "font.size": 9})
    from matplotlib import pyplot

    shown = [row for row in rows if not row.name.startswith(("start", "limit"))]
    shown.sort(key=lambda row: row.per_second)
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(shown) + 1))
    labels = [f"{row.name}, {row.recipients:,}" for row in shown]
    bars = axes.barh(labels, [row.per_second for row in shown], color=[_color(row.name) for row in shown])
    axes.bar_label(bars, [f"{row.per_second:,.0f}" for row in shown], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(10, 100_000)
    axes.set_xlabel("messages a second (2 cores, everything on one machine)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _color(name: str) -> str:
    if name.startswith("engine"):
        return _OURS
    return _LIMIT if name.startswith("bare") else _PEER
