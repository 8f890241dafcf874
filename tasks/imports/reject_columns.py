"""The CSV of rejected rows: it can be corrected in a spreadsheet program and imported again. Pure.

A rejected row stands there with its own columns and cells, and behind them with columns that say what is wrong. An import
ignores these columns, so nobody has to delete them. `tasks.spreadsheets.csv_lines` writes the file: no program runs its cells.
"""

from collections.abc import Iterator, Sequence

from tasks.imports.rejects import Reason

ROW_COLUMN = "ics_row"
COLUMN_COLUMN = "ics_column"
REASON_COLUMN = "ics_reason"
MESSAGE_COLUMN = "ics_message"
SURPLUS_COLUMN = "ics_surplus"
"""What has no column: the surplus cells of a row, or a line that cannot be cut into cells. A row with content here is
rejected again, so that it is never imported without it."""
ADDED_COLUMNS = (ROW_COLUMN, COLUMN_COLUMN, REASON_COLUMN, MESSAGE_COLUMN, SURPLUS_COLUMN)


def header(columns: Sequence[str]) -> list[str]:
    """The names of the file's columns, and those that are added."""
    return [*_own(columns), *ADDED_COLUMNS]


def row(
    columns: Sequence[str], cells: Sequence[str], *, row_number: int, column: str, reason: str, message: str
) -> list[str]:
    """A rejected row. `cells` are those of the file, more or fewer than its columns.

    Cells of columns that an earlier file of rejects had added are left out: they said what was wrong then.
    """
    if reason == Reason.UNCLOSED_QUOTE:
        cells = [*[""] * len(columns), *cells]
    own = [position for position, name in enumerate(columns) if name not in ADDED_COLUMNS]
    kept = [cells[position] if position < len(cells) else "" for position in own]
    surplus = [*_cells_of(columns, cells, SURPLUS_COLUMN), *cells[len(columns) :]]
    added = (str(row_number), column, reason, message, _joined(surplus))
    return [*kept, *added]


def _own(columns: Sequence[str]) -> list[str]:
    return [name for name in columns if name not in ADDED_COLUMNS]


def _cells_of(columns: Sequence[str], cells: Sequence[str], name: str) -> Iterator[str]:
    return (cell for each, cell in zip(columns, cells, strict=False) if each == name)


def _joined(cells: Sequence[str]) -> str:
    return " | ".join(cell for cell in cells if cell.strip())
