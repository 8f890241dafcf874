"""Clients in pieces, each turned into something else as it is read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from db.engine import Database, Session
from db.queries import exports
from db.queries.choices import Choice, condition_of, is_static
from db.queries.exports import PIECE_ROWS, Row

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Everybody, the members of a static list, or clients by id (`chosen`), who were chosen when the export began."""

    list_id: int | None = None
    chosen: Sequence[int] | None = None


def open_source(database: Database, choice: Choice) -> Source:
    """Whom the export is about; whom a rule describes is decided here, once.

    Raises:
        NotFound, Invalid: as `db.queries.choices.condition_of`.
    """
    if choice == Choice():
        return Source()
    with database.reading() as session:
        if is_static(session, choice):
            return Source(list_id=choice.list_id)
        return Source(chosen=exports.choose_clients(session, condition_of(session, choice)))


def read_pieces(
    database: Database, source: Source, fields: Sequence[str], write: Callable[[Iterable[Row]], T]
) -> Iterator[T]:
    """What `write` makes of [id, *fields] of the clients, some thousand at a time, each client at most once.

    Not a picture of one moment: who is added or changed meanwhile may be in it as before or as after. No transaction is open
    between two pieces, however slowly they are taken.
    """
    if source.chosen is None:
        yield from _along_the_key(database, source.list_id, fields, write)
        return
    for start in range(0, len(source.chosen), PIECE_ROWS):
        with database.reading() as session:
            ids = source.chosen[start : start + PIECE_ROWS]
            piece = write(exports.read_chosen(session, ids, fields))
        yield piece


def _along_the_key(
    database: Database, list_id: int | None, fields: Sequence[str], write: Callable[[Iterable[Row]], T]
) -> Iterator[T]:
    after: int | None = 0
    while after is not None:
        place = _Place()
        with database.reading() as session:
            piece = write(place.noted(_read(session, list_id, fields, after)))
        after = place.last_id
        if after is not None:
            yield piece


def _read(session: Session, list_id: int | None, fields: Sequence[str], after: int) -> Iterator[Row]:
    if list_id is None:
        return exports.read_clients(session, fields, after=after, limit=PIECE_ROWS)
    return exports.read_members(session, list_id, fields, after=after, limit=PIECE_ROWS)


class _Place:
    """The id of the last row that passed; None when there was none."""

    def __init__(self) -> None:
        self.last_id: int | None = None

    def noted(self, rows: Iterable[Row]) -> Iterator[Row]:
        row = None
        for row in rows:
            yield row
        self.last_id = row[0] if row else None
