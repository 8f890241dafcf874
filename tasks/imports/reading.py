"""Reads a CSV in pieces of text, keeping the row numbers that people see. Nothing of the file is lost in silence.

The standard library's reader is used rather than pandas': it knows how many cells a row had and where it began,
streams, and reads hundreds of thousands of rows a second, which is more than what follows can take.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path
from typing import TextIO

import pandas as pd

from tasks.imports.artefacts import is_error, may_hold
from tasks.imports.layout import Layout, detect_layout
from tasks.imports.reject_columns import SURPLUS_COLUMN
from tasks.imports.rejects import Problem, Reason, Reject, reject
from tasks.spreadsheets import restored

_BLOCK_CHARACTERS = 1024 * 1024


@dataclass(frozen=True)
class Chunk:
    """Rows of a file that come one after the other.

    `frame` has a column of text (never NaN) for each of the layout's, and the row numbers as its index.
    `first_row` counts the rows before this chunk (0 for the first one), and `row_count` those in it: the frame's
    and the rejected ones. Rows without any content are no rows, though they have numbers. `warnings` are cells of the
    frame that were read as empty.
    """

    first_row: int
    row_count: int
    frame: pd.DataFrame
    rejects: tuple[Reject, ...]
    warnings: tuple[Reject, ...] = ()


def read_chunks(path: Path, *, chunk_rows: int, layout: Layout | None = None) -> Iterator[Chunk]:
    """The file in chunks of `chunk_rows` rows, always cut at the same places; one is in memory at a time.

    A row with fewer cells than the header ends in empty ones; one with more is rejected, because nobody can tell
    which cell is the surplus one.

    Raises:
        UnreadableFile: see `detect_layout`.
    """
    layout = layout or detect_layout(path)
    records = _rows(path, layout)
    first_row = 0
    while taken := list(islice(records, chunk_rows)):
        yield _chunk(taken, layout, first_row)
        first_row += len(taken)


def read_sample(path: Path, *, rows: int = 1000, layout: Layout | None = None) -> Chunk:
    """The first rows of the file, to suggest a mapping from and to show to people."""
    layout = layout or detect_layout(path)
    return _chunk(list(islice(_rows(path, layout), rows)), layout, 0)


def count_rows(path: Path, *, layout: Layout | None = None) -> int:
    """How many rows `read_chunks` will give, rejected ones included. Where no quotes stand, lines are counted and not read."""
    layout = layout or detect_layout(path)
    rows = number = 0
    with _opened(path, layout) as file:
        while lines := file.readlines(_BLOCK_CHARACTERS):
            if number >= layout.header_row and '"' not in "".join(lines):
                # Each line is a record; one that is too long to be read is a rejected row.
                number += len(lines)
                rows += sum(1 for line in lines if line.replace(layout.delimiter, "").strip())
                continue
            for record in _block_records(lines, file, layout.delimiter):
                number += 1
                rows += number > layout.header_row and _row(number, record, layout) is not None
    return rows


def _chunk(taken: list["_Row"], layout: Layout, first_row: int) -> Chunk:
    width = len(layout.columns)
    numbers, rows, rejects = [], [], []
    warnings: list[Reject] = []
    surplus = layout.columns.index(SURPLUS_COLUMN) if SURPLUS_COLUMN in layout.columns else None
    for number, row in taken:
        if isinstance(row, Reject):
            rejects.append(row)
            continue
        if len(row) < width:
            row = row + [""] * (width - len(row))
        if may_hold(row):
            row = _as_meant(number, row, layout, warnings)
        if surplus is not None and row[surplus].strip():
            rejects.append(reject(number, SURPLUS_COLUMN, row[surplus], _STILL_SURPLUS, cells=row))
            continue
        numbers.append(number)
        rows.append(row)
    frame = pd.DataFrame(
        rows, columns=list(layout.columns), index=pd.Index(numbers, name="row_number"), dtype=object
    )
    return Chunk(first_row, len(taken), frame, tuple(rejects), tuple(warnings))


def _as_meant(number: int, row: list[str], layout: Layout, warnings: list[Reject]) -> list[str]:
    """The cells without what spreadsheet programs leave in them."""
    cells = [restored(cell) for cell in row]
    for position, cell in enumerate(cells):
        if is_error(cell):
            warnings.append(reject(number, layout.columns[position], cell, _NO_RESULT))
            cells[position] = ""
    return cells


_Row = tuple[int, list[str] | Reject]


def _rows(path: Path, layout: Layout) -> Iterator[_Row]:
    """Rows with content below the header, with their numbers; cut to the header's width or rejected."""
    width = len(layout.columns)
    numbers = count(1)
    with _opened(path, layout) as file:
        while lines := file.readlines(_BLOCK_CHARACTERS):
            # The records come first: at their end none of the numbers is taken.
            records = _block_records(lines, file, layout.delimiter)
            for record, number in zip(records, numbers, strict=False):
                if number <= layout.header_row:
                    continue
                if record.__class__ is list and len(record) == width and record[0].strip():
                    yield number, record
                elif (row := _row(number, record, layout)) is not None:
                    yield number, row


def _row(number: int, record: "list[str] | _Unclosed", layout: Layout) -> list[str] | Reject | None:
    """None for a row without content."""
    width = len(layout.columns)
    if isinstance(record, _Unclosed):
        return reject(number, "", record.line, _UNCLOSED, cells=[record.line.rstrip("\r\n")])
    if not "".join(record).strip():
        return None
    if len(record) <= width:
        return record
    if "".join(record[width:]).strip():
        shown = layout.delimiter.join(record)
        return reject(number, "", shown, _too_many(len(record), width), cells=record)
    return record[:width]


def _opened(path: Path, layout: Layout) -> TextIO:
    return path.open(encoding=layout.encoding, errors="replace", newline="")


_UNCLOSED = Problem(
    Reason.UNCLOSED_QUOTE,
    'a cell of this row begins with a quote (") that is never closed; close it, or double it inside of a cell',
)


_NO_RESULT = Problem(
    Reason.FORMULA_ERROR, "the formula of this cell has no result; it was read as empty. Put the value there"
)
_STILL_SURPLUS = Problem(
    Reason.TOO_MANY_CELLS,
    f"the row has more cells than columns: put those of {SURPLUS_COLUMN} where they belong, and empty it",
)


def _too_many(cells: int, width: int) -> Problem:
    return Problem(
        Reason.TOO_MANY_CELLS,
        f'{cells} cells, but there are {width} columns; put cells that contain the delimiter in quotes (")',
    )


@dataclass(frozen=True)
class _Unclosed:
    line: str


def _block_records(block: list[str], after: Iterator[str], delimiter: str) -> Iterable[list[str] | _Unclosed]:
    """The records (RFC 4180) that begin in a block of lines, all at once if the strict reader finds nothing wrong in it.

    It then ends with a record, since the strict reader refuses an end in the middle of one.
    """
    try:
        return list(csv.reader(block, delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return _careful(block, after, delimiter)


class _Lines:
    """The lines of a block, and those after it, that remember which of them the current record took, and can be taken back."""

    def __init__(self, block: list[str], after: Iterator[str]) -> None:
        self._lines = chain(block, after)
        self._left = len(block)
        self._returned: list[str] = []
        self.taken: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        if self._returned:
            line = self._returned.pop()
        else:
            line = next(self._lines)
            self._left -= 1
        self.taken.append(line)
        return line

    @property
    def is_over(self) -> bool:
        """Whether the block is at its end."""
        return self._left <= 0 and not self._returned

    def take_back(self, lines: list[str]) -> None:
        self._returned.extend(reversed(lines))


def _careful(block: list[str], after: Iterator[str], delimiter: str) -> Iterator[list[str] | _Unclosed]:
    """The records that begin in a block. A stray quote costs the row that it stands in, never those after it.

    The strict reader fails where a quote is closed in the middle of a cell, at the end of the file, or not at all
    within 128 KiB. The first line is then read by itself and leniently, and the others anew.
    """
    lines = _Lines(block, after)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    while not lines.is_over:
        lines.taken.clear()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error:
            taken = list(lines.taken)
            lines.take_back(taken[1:])
            reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
            yield _read_alone(taken[0], delimiter)
        else:
            yield record


def _read_alone(line: str, delimiter: str) -> list[str] | _Unclosed:
    # If the reader asks for a second line, a quote is open; the empty one lets it end without an error.
    extra = iter([line, ""])
    try:
        record = next(csv.reader(extra, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return _Unclosed(line)
    is_open = next(extra, None) is None
    return _Unclosed(line) if is_open else record
