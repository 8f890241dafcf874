"""Which links of an execution were clicked, how often and by how many, people and machines apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, select
from sqlalchemy.orm import Session

from db.dialect import group_key
from db.models import Event

_HUMAN, _MACHINE = "click", "machine_click"


class LinkKey(StrEnum):
    """What is counted as one link: the whole URL, or the page it leads to, without query and fragment."""

    URL = "url"
    PAGE = "page"


@dataclass(frozen=True)
class LinkClicks:
    """Clicks of one link. `people` are different clients who clicked it themselves; `url` is None where it was forgotten with
    its client."""

    url: str | None
    total: int
    human: int
    machine: int
    people: int


@dataclass(frozen=True)
class AllClicks:
    """Clicks of all links of an execution together; somebody who clicked two links is one of the `people`."""

    links: int
    total: int
    human: int
    machine: int
    people: int


def list_links(session: Session, execution_id: int, *, by: LinkKey, limit: int) -> Sequence[LinkClicks]:
    """The links that were clicked most, by all clicks; along the index of events by execution and kind."""
    link = _link(by)
    rows = session.execute(
        _clicks(execution_id, func.min(link), *_counts())
        .group_by(group_key(link))
        .order_by(func.count().desc(), func.min(link))
        .limit(limit)
    )
    return [LinkClicks(url, *(int(each or 0) for each in counts)) for url, *counts in rows]


def count_links(session: Session, execution_id: int, *, by: LinkKey) -> AllClicks:
    row = session.execute(
        _clicks(execution_id, func.count(func.distinct(group_key(_link(by)))), *_counts())
    ).one()
    return AllClicks(*(int(each or 0) for each in row))


def _clicks(execution_id: int, *columns: ColumnElement[Any]) -> Any:
    return select(*columns).where(Event.execution_id == execution_id, Event.kind.in_([_HUMAN, _MACHINE]))


def _counts() -> tuple[ColumnElement[Any], ...]:
    is_human = Event.kind == _HUMAN
    return (
        func.count(),
        func.sum(case((is_human, 1), else_=0)),
        func.sum(case((is_human, 0), else_=1)),
        func.count(func.distinct(case((is_human, Event.client_id)))),
    )


def _link(by: LinkKey) -> Any:
    link: Any = Event.url
    if by is LinkKey.PAGE:
        for mark in ("#", "?"):
            # The mark behind it is found where the link has none.
            link = func.substr(link, 1, func.instr(link.concat(literal(mark)), literal(mark)) - 1)
    return link
