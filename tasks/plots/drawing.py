"""Draws an execution over time with matplotlib, which is imported by who draws: it costs a second and 60 MB."""

import os
from datetime import timedelta
from enum import StrEnum
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from settings import get_settings
from tasks.plots.curves import Curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS: Final = {"sent": "#5b6abf", "delivered": "#2e9e6b", "opens": "#e0a100", "clicks": "#d1495b"}
_INCHES: Final = (9.0, 6.4)
_DOTS_PER_INCH: Final = 100
_UNITS: Final = ((10080, "week"), (1440, "day"), (60, "hour"), (1, "minute"))
# Fonts and caches of matplotlib are shared by all threads of a process.
_drawing = Lock()


class Format(StrEnum):
    SVG = "svg"
    PNG = "png"


def draw(curves: Curves, title: str, kind: Format, *, scale: float = 1.0) -> bytes:
    """The picture as bytes: above what has come together, below how much in each step. Same curves, same bytes."""
    with _drawing:
        # Its cache of fonts takes seconds to build, and is made again by each process that may not write where it stands.
        os.environ.setdefault("MPLCONFIGDIR", str((get_settings().home / "matplotlib").absolute()))
        from matplotlib import rc_context

        # Ids in an SVG are random unless they are given a salt.
        with rc_context({"svg.hashsalt": "ics", "svg.fonttype": "none"}):
            figure = _figure(curves, title)
            target = BytesIO()
            metadata: dict[str, Any] = {"Date": None} if kind is Format.SVG else {"Software": None}
            figure.savefig(target, format=kind.value, dpi=_DOTS_PER_INCH * scale, metadata=metadata)
    return target.getvalue()


def _figure(curves: Curves, title: str) -> "Figure":
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    figure = Figure(figsize=_INCHES, layout="constrained")
    panels = figure.subplots(3, 1, sharex=True, height_ratios=[3, 1.4, 1.4])
    figure.suptitle(_plain(title), fontsize=12)
    each = _words(curves.step)
    for axes, label in zip(
        panels, ("in all", f"sent\nper {each}", f"opens, clicks\nper {each}"), strict=True
    ):
        axes.set_ylabel(label)
        axes.grid(visible=True, alpha=0.25)
        axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.spines[["top", "right"]].set_visible(False)
    if curves.is_empty:
        _say(panels, "nothing was sent yet")
    else:
        _draw_curves(figure, panels, curves)
    return figure


def _draw_curves(figure: "Figure", panels: Any, curves: Curves) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

    above, sending, below = panels
    # Of their own scale: a blast goes out in minutes, and is opened for days.
    scales = {"sent": sending, "delivered": sending, "opens": below, "clicks": below}
    edges: Any = date2num(curves.edges)  # type: ignore[no-untyped-call]
    for name, colour in _COLOURS.items():
        above.plot(edges, curves.totals(name), color=colour, label=name, linewidth=1.8)
        scales[name].stairs(curves.counts[name], edges, color=colour, linewidth=1.2, baseline=None)
    for axes in (sending, below):
        highest = max(max(curves.counts[name]) for name in _COLOURS if scales[name] is axes)
        axes.set_ylim(0, 1.08 * max(1, highest))
    above.set_ylim(bottom=0)
    above.set_xlim(edges[0], edges[-1])
    locator: Any = AutoDateLocator()  # type: ignore[no-untyped-call]
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    below.set_xlabel("UTC")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", frameon=False, ncols=4)


def _say(panels: Any, words: str) -> None:
    panels[0].text(0.5, 0.5, words, ha="center", va="center", transform=panels[0].transAxes)
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])


def _plain(title: str) -> str:
    """Titles are names that people gave: no mathematics between dollars, and no more than a line."""
    return title.replace("$", r"\$")[:100]


def _words(step: timedelta) -> str:
    """As in "per hour" and "per 2 days"."""
    minutes = round(step.total_seconds() / 60)
    size, word = next(each for each in _UNITS if minutes % each[0] == 0)
    count = minutes // size
    return word if count == 1 else f"{count} {word}s"
