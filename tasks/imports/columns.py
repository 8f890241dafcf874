"""A column of a chunk, read at once: each distinct text of it is cleaned and read a single time. Pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasks.imports.rejects import Problem, Reject, reject
from tasks.imports.texts import clean_text

Clean = Callable[[str], str]


@dataclass(frozen=True)
class Column:
    """The cells of a column as they are written, and how they are made text without what no person typed."""

    name: str
    cells: list[str]
    clean: Clean = clean_text


@dataclass
class Problems:
    """What is wrong with cells, by the position of their row; of one row in the order in which they were found."""

    numbers: Sequence[int]
    by_position: dict[int, list[Reject]] = field(default_factory=lambda: defaultdict(list))

    def note(self, position: int, column: Column, problem: Problem) -> None:
        value = column.clean(column.cells[position])
        self.by_position[position].append(reject(self.numbers[position], column.name, value, problem))


class Distinct(dict[str, Any]):
    """What each text says, worked out when it is first asked for; `problems` are those of texts that say nothing good."""

    def __init__(self, read: Callable[[str], Any], *, clean: Clean = clean_text, empty: Any = None) -> None:
        super().__init__({"": empty})
        self.problems: dict[str, Problem] = {}
        self._read = read
        self._clean = clean

    def __missing__(self, text: str) -> Any:
        cleaned = self._clean(text)
        found = self._read(cleaned) if cleaned else self[""]
        if isinstance(found, Problem):
            self.problems[text] = found
            found = None
        self[text] = found
        return found


def read_column(column: Column, read: Callable[[str], Any], problems: Problems) -> list[Any]:
    """The value of each cell, None where there is none; a cell that cannot be read is noted. `read` gets no empty text."""
    distinct = Distinct(read, clean=column.clean)
    values = list(map(distinct.__getitem__, column.cells))
    note_problems(column, distinct.problems, problems)
    return values


def read_each(
    column: Column, read: Callable[[str], Any], problems: Problems, *, common: Callable[[str], Any]
) -> list[Any]:
    """As `read_column`, for a column in which hardly two cells are alike: `common` reads most of them as they are written, and
    answers None for the others."""
    values = list(map(common, column.cells))
    distinct = Distinct(read, clean=column.clean)
    for position, value in enumerate(values):
        if value is None:
            values[position] = distinct[column.cells[position]]
    note_problems(column, distinct.problems, problems)
    return values


def note_problems(column: Column, by_text: dict[str, Problem], problems: Problems) -> None:
    if by_text:
        for position, text in enumerate(column.cells):
            if text in by_text:
                problems.note(position, column, by_text[text])
