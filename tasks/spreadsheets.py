"""CSV for spreadsheet programs. Its values come from strangers: from files, and from what clients are called."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

BYTE_ORDER_MARK = "\ufeff"
"""Tells Excel that a file is UTF-8."""

# OWASP, "CSV Injection": cells that begin like this are run as formulas, unless a quote stands before them. A cell that
# has such a quote already gets one more, so that an import that takes one away always gets the cell that was.
_RISKY = re.compile("'* *[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
# What most cells are told by: the first character of those that have to be looked at.
_RISKY_FIRST = frozenset(" '=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
# A number in E.164 calls no function and names no cell; with a quote before it no other program would take it.
_PHONE = re.compile(r"\+[0-9]{7,15}")


def defused(cell: str) -> str:
    """The cell as text that no spreadsheet program takes for a formula."""
    if cell[:1] in _RISKY_FIRST and _RISKY.match(cell) and not _PHONE.fullmatch(cell):
        return "'" + cell
    return cell


def restored(cell: str) -> str:
    """The cell that `defused` was given, or a cell that a spreadsheet program marked as text in the same way."""
    return cell[1:] if cell[:1] == "'" and _RISKY.match(cell, 1) else cell


def csv_lines(rows: Iterable[Sequence[object]]) -> str:
    """Lines of CSV (RFC 4180) with every text defused."""
    buffer = io.StringIO()
    risky = _RISKY_FIRST
    # Nearly all cells are passed by their first character alone: a call for each would double the time of an export.
    csv.writer(buffer).writerows(
        [defused(cell) if isinstance(cell, str) and cell[:1] in risky else cell for cell in row]
        for row in rows
    )
    return buffer.getvalue()
