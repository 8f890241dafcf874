"""What spreadsheet programs, and exports that guard against them, leave in cells. Pure.

- An apostrophe before a formula start says that the cell is text ('=1+1). Our own CSVs have it so that no program runs
  the cell, and `tasks.spreadsheets.restored` takes it off.
- A formula that failed shows a word such as #N/A: there is no value.
"""

import re
from collections.abc import Sequence

# Excel's and LibreOffice's; Excel writes GETTING_DATA with an underscore.
_ERROR = re.compile(
    r"\s*#(N/A|DIV/0!|NAME\?|NULL!|NUM!|REF!|VALUE!|SPILL!|CALC!|BLOCKED!|FIELD!|UNKNOWN!|CONNECT!|GETTING_DATA)\s*"
)


def is_error(cell: str) -> bool:
    """Whether the cell is the word that a formula without a result shows."""
    return _ERROR.fullmatch(cell) is not None


def may_hold(cells: Sequence[str]) -> bool:
    """Whether any cell may be one of these: a quick look that spares nearly all rows the slow one."""
    joined = "".join(cells)
    return "'" in joined or "#" in joined
