"""Keyset pages: stable while rows are added, and as fast at the end as at the beginning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Up to `limit` items; `next_cursor` is the id to go on after, None at the end."""

    items: Sequence[T]
    next_cursor: int | None


def page_of(
    session: Session, query: Select[tuple[T]], key: InstrumentedAttribute[int], *, after: int, limit: int
) -> Page[T]:
    """The entities of `query` whose `key` is above `after`, in the order of the key."""
    rows = session.scalars(query.where(key > after).order_by(key).limit(limit + 1)).all()
    items = rows[:limit]
    return Page(items, _key_of(items[-1], key) if len(rows) > limit else None)


def _key_of(item: Any, key: InstrumentedAttribute[int]) -> int:
    return int(getattr(item, key.key))
