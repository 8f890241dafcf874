"""What an import leaves out of a file, and why. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SHOWN_CHARACTERS = 80


class Reason(StrEnum):
    """Why a row (or a cell of a row that was kept) was left out."""

    TOO_MANY_CELLS = "too_many_cells"
    UNCLOSED_QUOTE = "unclosed_quote"
    FORMULA_ERROR = "formula_error"
    NO_ADDRESS = "no_address"
    INVALID_EMAIL = "invalid_email"
    INVALID_PHONE = "invalid_phone"
    PHONE_EXTENSION = "phone_extension"
    INVALID_CONSENT = "invalid_consent"
    INVALID_TIME_ZONE = "invalid_time_zone"
    INVALID_LOCALE = "invalid_locale"
    INVALID_TAG = "invalid_tag"
    INVALID_NUMBER = "invalid_number"
    INVALID_BOOLEAN = "invalid_boolean"
    INVALID_DATE = "invalid_date"
    INVALID_CHOICE = "invalid_choice"
    TOO_LONG = "too_long"
    BROKEN_TEXT = "broken_text"
    DUPLICATE_IN_FILE = "duplicate_in_file"
    SUPPRESSED = "suppressed"
    ERASED = "erased"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one cell; `message` says what would be accepted."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Reject:
    """A row that was left out or, in a list of warnings, a cell of a row that was kept.

    `row_number` is the one a spreadsheet program shows: the file's first row is 1. `column` is the file's name of
    the column, "" where the whole row is meant. `value` holds at most `SHOWN_CHARACTERS` characters of the cell. `cells` are
    all cells of a row that was left out, as they are written.
    """

    row_number: int
    column: str
    value: str
    reason: Reason
    message: str
    cells: tuple[str, ...] | None = None


def reject(
    row_number: int, column: str, value: str, problem: Problem, *, cells: Sequence[str] | None = None
) -> Reject:
    """A `Reject` with the value shortened to what a report shows."""
    kept = None if cells is None else tuple(cells)
    return Reject(row_number, column, shortened(value), problem.reason, problem.message, kept)


def shortened(value: str) -> str:
    """At most `SHOWN_CHARACTERS` characters, the last one an ellipsis where some were cut."""
    return value if len(value) <= SHOWN_CHARACTERS else value[: SHOWN_CHARACTERS - 1] + "…"
