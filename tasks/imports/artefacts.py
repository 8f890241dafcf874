"""What spreadsheet programs, and exports that guard against them, leave in cells: taken off before a cell is read. Pure.

- An apostrophe before a formula start says that the cell is text ('=1+1). Our own CSVs write it so that no program
  runs the cell (`tasks/spreadsheets.py`), and so do others.
- A formula that failed shows a word such as #N/A: there is no value.
"""

import re
from collections.abc import Sequence

_FORMULA_START = r"'* *[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_GUARDED = re.compile(f"'{_FORMULA_START}")
_TO_GUARD = re.compile(_FORMULA_START)
# Excel's and LibreOffice's; Excel writes GETTING_DATA with an underscore.
_ERROR = re.compile(
    r"\s*#(N/A|DIV/0!|NAME\?|NULL!|NUM!|REF!|VALUE!|SPILL!|CALC!|BLOCKED!|FIELD!|UNKNOWN!|CONNECT!|GETTING_DATA)\s*"
)


def guarded(cell: str) -> str:
    """The cell as text that no spreadsheet program runs, and that `unguarded` turns back into exactly the cell."""
    return "'" + cell if _TO_GUARD.match(cell) else cell


def unguarded(cell: str) -> str:
    """The cell without the apostrophe that says that it is no formula."""
    return cell[1:] if _GUARDED.match(cell) else cell


def is_error(cell: str) -> bool:
    """Whether the cell is the word that a formula without a result shows."""
    return _ERROR.fullmatch(cell) is not None


def may_hold(cells: Sequence[str]) -> bool:
    """Whether any cell may be one of these: a quick look that spares nearly all rows the slow one."""
    joined = "".join(cells)
    return "'" in joined or "#" in joined
