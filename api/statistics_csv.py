"""Statistics as CSV: piece by piece, and never run as formulas."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from api.schemas.base import PageOut
from api.schemas.statistics import ComparedOut, DomainsOut, LinksOut, PointOut, SeriesOut
from db.models import SendmodeStats, Stats
from db.queries.domains import COUNTS
from db.queries.stats import columns_of
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines
from tasks.statistics.rates import EMAIL_RATES

T = TypeVar("T")
Row = Sequence[object]
_ROWS = 1000
_FACTS = ("execution_id", "state", "created_at", "started_at", "finished_at")


def series_csv(read: Callable[[int | None], SeriesOut], kinds: Sequence[str]) -> Iterator[str]:
    """A line for each point, a column for each kind; `read` gives the page behind a cursor."""

    def row(point: PointOut) -> Row:
        return [point.at.isoformat(), *(point.counts.get(kind, 0) for kind in kinds)]

    return _lines(["at", *kinds], (row(each) for page in _pages(read) for each in page.items))


def links_csv(found: LinksOut) -> Iterator[str]:
    names = ("total", "human", "machine", "people")
    rows = ([each.url or "", *(getattr(each, name) for name in names)] for each in found.items)
    return _lines(["url", *names], rows)


def domains_csv(found: DomainsOut) -> Iterator[str]:
    """The rest is the last line, without a domain."""
    every = [(each.domain, each) for each in found.items] + ([("", found.rest)] if found.rest.domains else [])
    return _lines(
        ["domain", *COUNTS], ([name, *(getattr(each, count) for count in COUNTS)] for name, each in every)
    )


def comparison_csv(read: Callable[[int | None], PageOut[ComparedOut]]) -> Iterator[str]:
    messages, sms = columns_of(Stats), columns_of(SendmodeStats)

    def row(each: ComparedOut) -> Row:
        facts = each.model_dump(mode="json", include=set(_FACTS))
        return [
            *(facts[name] for name in _FACTS),
            *(each.messages[name] for name in messages),
            *(each.rates[name].percent for name in EMAIL_RATES),
            *(each.sms[name] for name in sms),
            each.sms_cost.amount if each.sms_cost else None,
            each.sms_cost.currency if each.sms_cost else None,
        ]

    header = [
        *_FACTS,
        *messages,
        *(f"{name}_percent" for name in EMAIL_RATES),
        *(f"sms_{name}" for name in sms),
    ]
    rows = (row(each) for page in _pages(read) for each in page.items)
    return _lines([*header, "sms_cost", "sms_currency"], rows)


P = TypeVar("P", SeriesOut, PageOut[ComparedOut])


def _pages(read: Callable[[int | None], P]) -> Iterator[P]:
    cursor: int | None = None
    while True:
        page = read(cursor)
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def _lines(header: Row, rows: Iterable[Row]) -> Iterator[str]:
    yield BYTE_ORDER_MARK + csv_lines([header])
    piece: list[Row] = []
    for row in rows:
        piece.append(row)
        if len(piece) == _ROWS:
            yield csv_lines(piece)
            piece = []
    yield csv_lines(piece)
