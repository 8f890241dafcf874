"""CSV for spreadsheet programs. Its values come from strangers: from files, and from what clients are called."""

import csv
import io
from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"
"""Tells Excel that a file is UTF-8."""

# OWASP, "CSV Injection": cells that begin like this are run as formulas, unless a quote stands before them.
_WIDE = ("\uff1d", "\uff0b", "\uff0d", "\uff20")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", *_WIDE)


def defused(cell: str) -> str:
    """The cell as text that no spreadsheet program takes for a formula."""
    return "'" + cell if cell.lstrip(" ").startswith(_FORMULA_STARTS) else cell


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV (RFC 4180) with every text defused."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerows([defused(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return buffer.getvalue()
