"""What a column of text seems to hold: emails, phones, dates, numbers, ... Pure.

A date such as 03/04/2026 and a number such as 1.234 may be read in two ways. One cell that may not (25/04/2026, 1.234,5)
decides for its column; where none does, the region has to.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks.imports.consents import read_yes_or_no
from tasks.imports.emails import read_email
from tasks.imports.phones import Phone, read_phone
from tasks.imports.rejects import Problem
from tasks.imports.targets import DateOrder, DecimalMark
from tasks.imports.values import read_date, read_number

_MOSTLY = 0.6
_NEARLY_ALL = 0.8
# A look at a phone number takes 50 us.
_LOOKED_AT = 500
_SAMPLES = 5
_SAMPLE_CHARACTERS = 80
_MOST_CHOICES = 12
_FEWEST_OF_A_CHOICE = 3.0
_LONGEST_CHOICE = 40

EMAIL_SHAPE = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")
PHONE_SHAPE = re.compile(
    r"'?\+\d[\d ().\-/]{7,}( ?x\d+)?|\(\d{2,5}\)[\d .\-/]{5,}|\d{3}[.\-]\d{3}[.\-]\d{4}"
    r"|00[1-9]\d{7,14}|0\d{1,4}[ /\-]\d{2,4}([ \-]?\d{2,5}){1,3}|0[1-9]\d{7,9}"
)
_ISO_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}")
_NUMBER_DATE = re.compile(r"(\d{1,2})([-/. ])(\d{1,2})\2(?:\d{4}|\d{2})(?!\d)")
_NAMED_DATE = re.compile(r"(?=.{6,40}$)([^\W\d_]{3,}\.?[ -]\d|\d{1,2}[. -]+[^\W\d_]{3,})")
_NUMBER = re.compile(r"[-+]?\d[\d.,' \u00a0\u202f]*")
# More are rounded by JSON, and by spreadsheet programs: a number of 16 digits is a name of something.
_EXACT_DIGITS = 15
_MONTH = 12


class ColumnKind(StrEnum):
    """What most cells of a column are. `CHOICE` is text of few different words, `EMPTY` a column without content."""

    EMAIL = "email"
    PHONE = "phone"
    DATE = "date"
    NUMBER = "number"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    TEXT = "text"
    EMPTY = "empty"


@dataclass(frozen=True)
class Profile:
    """A column's kind; `fits` of its `filled` cells (those with content, of the sample) are of that kind.

    `date_order` and `decimal` are what cells of a column of dates or numbers leave no doubt about, None where they do;
    `has_ambiguous` tells whether any cell needs them.
    """

    kind: ColumnKind
    filled: int = 0
    fits: int = 0
    samples: tuple[str, ...] = ()
    date_order: DateOrder | None = None
    decimal: DecimalMark | None = None
    has_ambiguous: bool = False

    @property
    def fit(self) -> float:
        """The part of the cells with content that are of the kind, 0 where none has any."""
        return self.fits / self.filled if self.filled else 0.0


def profile_of(cells: Iterable[str], *, region: str, kind: ColumnKind | None = None) -> Profile:
    """Look at the sampled cells of a column; phones in national form are those of `region`.

    `kind` is what the column is known to be, from its name for example; its cells tell otherwise.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    samples = tuple(_shortened(cell) for cell in list(dict.fromkeys(filled))[:_SAMPLES])
    if not filled:
        return Profile(ColumnKind.EMPTY)
    looked_at = filled[:_LOOKED_AT]
    kind = kind or _kind(looked_at, orders=date_orders(filled), marks=decimal_marks(filled))
    return Profile(
        kind,
        len(looked_at),
        sum(map(bool, map(test_of(kind, region), looked_at))),
        samples,
        next(iter(date_orders(filled)), None) if kind is ColumnKind.DATE else None,
        next(iter(decimal_marks(filled)), None) if kind is ColumnKind.NUMBER else None,
        any(map(_AMBIGUOUS[kind], filled)) if kind in _AMBIGUOUS else False,
    )


def test_of(kind: ColumnKind, region: str) -> Callable[[str], object]:
    """What a cell of the kind passes. Addresses are those that the import takes."""
    match kind:
        case ColumnKind.EMAIL:
            return lambda cell: isinstance(read_email(cell), str)
        case ColumnKind.PHONE:
            return lambda cell: isinstance(read_phone(cell, region), Phone)
        case ColumnKind.DATE:
            return is_date
        case ColumnKind.NUMBER:
            return is_number
        case ColumnKind.BOOLEAN:
            return is_boolean
        case _:
            return bool


def part(cells: Sequence[str], test: Callable[[str], object]) -> float:
    """The part of the cells that pass the test, 0 where there is none."""
    return sum(map(bool, map(test, cells))) / len(cells) if cells else 0.0


def _kind(cells: Sequence[str], *, orders: set[DateOrder], marks: set[DecimalMark]) -> ColumnKind:
    """Dates or numbers that are written in two ways in one column are text: one of the ways would be read wrongly."""
    if part(cells, EMAIL_SHAPE.fullmatch) >= _MOSTLY:
        return ColumnKind.EMAIL
    if all(map(is_boolean, cells)):
        return ColumnKind.BOOLEAN
    if len(orders) < 2 and part(cells, is_date) >= _NEARLY_ALL:
        return ColumnKind.DATE
    if part(cells, PHONE_SHAPE.fullmatch) >= _MOSTLY:
        return ColumnKind.PHONE
    if len(marks) < 2 and part(cells, is_number) >= _NEARLY_ALL:
        return ColumnKind.NUMBER
    return ColumnKind.CHOICE if _is_choice(cells) else ColumnKind.TEXT


def _is_choice(cells: Sequence[str]) -> bool:
    words = Counter(cells)
    is_few = len(words) <= _MOST_CHOICES and len(cells) >= _FEWEST_OF_A_CHOICE * len(words)
    return is_few and max(map(len, words)) <= _LONGEST_CHOICE


def is_boolean(cell: str) -> bool:
    """A word for yes or no. 1 and 0 are numbers, and single letters other than y and n anything, till somebody says otherwise."""
    return (len(cell) > 1 or cell in "yYnN") and not cell.isdigit() and read_yes_or_no(cell) is not None


def is_date(cell: str) -> bool:
    """A date with or without a time, that the import can read: 2026-11-23, 23/11/2026, 11/23/26 10:15 PM, 23 Nov 2026."""
    if not any(shape.match(cell) for shape in (_ISO_DATE, _NUMBER_DATE, _NAMED_DATE)):
        return False
    return isinstance(read_date(cell, DateOrder.DMY), str)


def is_number(cell: str) -> bool:
    """A number with or without marks between thousands, that the import can read.

    007 is none: who writes zeros means them. Nor are digits with a unit, which would be lost.
    """
    digits = cell.lstrip("+-")
    is_padded = len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()
    if is_padded or not _NUMBER.fullmatch(cell) or sum(map(str.isdigit, cell)) > _EXACT_DIGITS:
        return False
    return not isinstance(read_number(cell, DecimalMark.POINT), Problem)


def date_orders(cells: Iterable[str]) -> set[DateOrder]:
    """The orders that days above 12 show: one, none where there is no such day, both where they contradict each other."""
    orders = set()
    for cell in cells:
        found = _NUMBER_DATE.match(cell)
        if found and int(found[1]) > _MONTH:
            orders.add(DateOrder.DMY)
        elif found and int(found[3]) > _MONTH:
            orders.add(DateOrder.MDY)
    return orders


def is_ambiguous_date(cell: str) -> bool:
    """Whether the cell is another date for an American than for a European."""
    found = _NUMBER_DATE.match(cell)
    return found is not None and max(int(found[1]), int(found[3])) <= _MONTH and found[1] != found[3]


def decimal_marks(cells: Iterable[str]) -> set[DecimalMark]:
    """The decimal marks that cells show, as with the orders of dates: 1.234 may be either, 1.5 may not."""
    return {mark for mark in map(_decimal_in, cells) if mark is not None}


def is_ambiguous_number(cell: str) -> bool:
    """Whether the cell is another number for an American than for a European."""
    return re.fullmatch(r"[-+]?[1-9]\d{0,2}[.,]\d{3}", cell) is not None


def _decimal_in(cell: str) -> DecimalMark | None:
    marks = [c for c in cell if c in ".,"]
    if not marks or not is_number(cell) or is_ambiguous_number(cell):
        return None
    if len(marks) > 1 and len(set(marks)) == 1:
        return DecimalMark.COMMA if marks[0] == "." else DecimalMark.POINT
    return DecimalMark(marks[-1])


_AMBIGUOUS: dict[ColumnKind, Callable[[str], bool]] = {
    ColumnKind.DATE: is_ambiguous_date,
    ColumnKind.NUMBER: is_ambiguous_number,
}


def _shortened(cell: str) -> str:
    return cell if len(cell) <= _SAMPLE_CHARACTERS else cell[: _SAMPLE_CHARACTERS - 1] + "…"
