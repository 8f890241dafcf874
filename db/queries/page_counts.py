"""Views, sign-ups and conversions of pages."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.dialect import add_up
from db.models import Page, PageCount

OTHER: Final = "(other)"
MOST_ORIGINS: Final = 200
"""Different origins of a page and day that are kept apart: whoever invents more fills no disk."""
_AT_A_TIME = 500

Origin = tuple[int, date, str, str, str]
"""Page, day, source, medium and campaign."""


def add_counts(session: Session, column: str, counts: Mapping[Origin, int]) -> None:
    """Add to `views`, `sign_ups` or `conversions`. Pages that are gone have no counts."""
    gathered: dict[Origin, int] = {}
    ids = {page_id for page_id, *_ in counts}
    there_are = set(session.scalars(select(Page.id).where(Page.id.in_(ids))))
    counts = {origin: count for origin, count in counts.items() if origin[0] in there_are}
    known = _known(session, {(page_id, day) for page_id, day, *_ in counts})
    for origin, count in counts.items():
        page_id, day, *rest = origin
        there = known.setdefault((page_id, day), set())
        if tuple(rest) not in there and len(there) >= MOST_ORIGINS:
            origin = (page_id, day, OTHER, OTHER, OTHER)
        else:
            there.add(tuple(rest))
        gathered[origin] = gathered.get(origin, 0) + count
    names = ("page_id", "day", "source", "medium", "campaign")
    # In one order for all processes: two that add to the same rows never wait for each other in a circle.
    rows = [{**dict(zip(names, key, strict=True)), column: gathered[key]} for key in sorted(gathered)]
    for start in range(0, len(rows), _AT_A_TIME):
        session.execute(add_up(session, PageCount, rows[start : start + _AT_A_TIME], column))


def _known(session: Session, days: set[tuple[int, date]]) -> dict[tuple[int, date], set[tuple[Any, ...]]]:
    found: dict[tuple[int, date], set[tuple[Any, ...]]] = {}
    for page_id, day in days:
        rows = session.execute(
            select(PageCount.source, PageCount.medium, PageCount.campaign).where(
                PageCount.page_id == page_id, PageCount.day == day
            )
        )
        found[page_id, day] = {tuple(row) for row in rows}
    return found


def list_counts(
    session: Session, page_id: int, *, since: date, until: date
) -> Sequence[tuple[date, str, str, str, int, int, int]]:
    """By day and origin, in order of the day."""
    rows = session.execute(
        select(
            PageCount.day,
            PageCount.source,
            PageCount.medium,
            PageCount.campaign,
            PageCount.views,
            PageCount.sign_ups,
            PageCount.conversions,
        )
        .where(PageCount.page_id == page_id, PageCount.day >= since, PageCount.day <= until)
        .order_by(PageCount.day, PageCount.source, PageCount.medium, PageCount.campaign)
    )
    return rows.tuples().all()


def get_totals(session: Session, page_id: int) -> tuple[int, int, int]:
    """Views, sign-ups and conversions of all time."""
    row = session.execute(
        select(
            func.coalesce(func.sum(PageCount.views), 0),
            func.coalesce(func.sum(PageCount.sign_ups), 0),
            func.coalesce(func.sum(PageCount.conversions), 0),
        ).where(PageCount.page_id == page_id)
    ).one()
    return int(row[0]), int(row[1]), int(row[2])
