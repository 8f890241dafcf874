"""What an import left out, as CSV: page by page out of the database, and never run as formulas."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from db.engine import Database
from db.models import ImportReject
from db.queries import imports
from db.queries.imports import Severity
from tasks.imports import reject_columns
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines

_PAGE = 1000
_FLAT_HEADER = ("row", "severity", "column", "value", "reason", "message")


def flat_rows(database: Database, import_id: int, severity: Severity | None) -> Iterator[str]:
    """A line for each row or cell that was left out, with what was wrong."""
    yield BYTE_ORDER_MARK + csv_lines([_FLAT_HEADER])
    for page in _pages(database, import_id, severity):
        yield csv_lines(
            (row.row_number, row.severity, row.column_name, row.value, row.reason, row.message)
            for row in page
        )


def correctable_rows(database: Database, import_id: int, layout: Mapping[str, Any]) -> Iterator[str]:
    """The rejected rows with their own columns and cells, and behind them what was wrong (`reject_columns`)."""
    columns: list[str] = layout["columns"]
    yield BYTE_ORDER_MARK + csv_lines([reject_columns.header(columns)])
    for page in _pages(database, import_id, Severity.REJECT):
        yield csv_lines(
            reject_columns.row(
                columns,
                row.cells or [],
                row_number=row.row_number,
                column=row.column_name,
                reason=row.reason,
                message=row.message,
            )
            for row in page
        )


def _pages(database: Database, import_id: int, severity: Severity | None) -> Iterator[Sequence[ImportReject]]:
    after: int | None = 0
    while after is not None:
        with database.reading() as session:
            page = imports.list_rejects(session, import_id, after=after, limit=_PAGE, severity=severity)
        yield page.items
        after = page.next_cursor
