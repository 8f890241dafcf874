"""An export as a file: CSV as a stream, XLSX by way of a temporary file."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell

from db.engine import Database
from tasks.exports.columns import Columns
from tasks.exports.reading import Source, read_pieces
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines

MOST_SHEET_ROWS = 1_048_576
"""Rows that a sheet has room for, its header among them (Microsoft, "Excel specifications and limits")."""

_MOST_CELL_CHARACTERS = 32_767
# XML 1.0, 2.2: what no document can hold, whatever way it is written.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def csv_pieces(database: Database, source: Source, columns: Columns) -> Iterator[str]:
    """The lines of a CSV file in pieces, the first with the byte order mark and the header."""
    cells = columns.reader()
    yield BYTE_ORDER_MARK + csv_lines([columns.names])
    yield from read_pieces(database, source, columns.fields, lambda rows: csv_lines(map(cells, rows)))


def write_workbook(
    path: Path, database: Database, source: Source, columns: Columns, *, most_rows: int = MOST_SHEET_ROWS
) -> None:
    """An XLSX file at `path`; what does not fit on a sheet goes on on the next one, each with the header.

    Row by row to disk: the memory it takes does not grow with the file.
    """
    book = _Book(columns.names, most_rows)
    cells = columns.reader()
    try:
        for piece in read_pieces(database, source, columns.fields, lambda rows: list(map(cells, rows))):
            book.append(piece)
    finally:
        # Nothing else deletes the temporary files of the sheets.
        book.save(path)


class _Book:
    """A workbook whose last sheet is written."""

    def __init__(self, header: Sequence[str], most_rows: int) -> None:
        self._book = Workbook(write_only=True)
        self._header = list(header)
        self._most_rows = most_rows
        self._open_sheet()

    def append(self, lines: Iterable[Sequence[Any]]) -> None:
        for line in lines:
            if self._used == self._most_rows:
                self._open_sheet()
            self._sheet.append([self._text(cell) if isinstance(cell, str) else cell for cell in line])
            self._used += 1

    def save(self, path: Path) -> None:
        self._book.save(path)

    def _open_sheet(self) -> None:
        number = len(self._book.sheetnames) + 1
        self._sheet: Any = self._book.create_sheet(f"clients {number}" if number > 1 else "clients")
        self._sheet.append(self._header)
        self._used = 1

    def _text(self, cell: str) -> Any:
        """Text and nothing else: openpyxl would make formulas of what begins with =, and errors of #N/A."""
        if not cell:
            return None
        if not cell.isprintable():
            cell = _NOT_XML.sub("", cell)
        if cell[:1] not in ("=", "#"):
            return cell[:_MOST_CELL_CHARACTERS]
        kept = WriteOnlyCell(self._sheet, cell[:_MOST_CELL_CHARACTERS])
        kept.data_type = "s"
        return kept
