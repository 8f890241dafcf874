"""Sheets of a workbook: their rows as the text a person sees, numbered as the sheet numbers them."""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel

from tasks.imports.archives import MIB
from tasks.imports.formats import damaged
from tasks.imports.parts import Attributes, Handler, unescaped
from tasks.imports.strings import SharedStrings

MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
"""What a sheet can have (ECMA-376; Excel's own limits)."""
_MAX_ROW_CHARACTERS = 4 * MIB
_ZEROS = re.compile(r"0{2,}")
_COLUMN = re.compile(r"[A-Z]{1,3}")
_DIGITS = "0123456789"

Row = tuple[int, list[str]]
"""A row's number in the sheet, and its cells up to the last one with content."""


@dataclass(frozen=True)
class NumberFormat:
    """What is needed of a number format: dates are numbers, and 01234 is 1234 with the format 00000."""

    is_date: bool = False
    is_duration: bool = False
    digits: int = 0

    @classmethod
    def of(cls, code: str) -> "NumberFormat":
        return cls(
            is_date_format(code), is_timedelta_format(code), len(code) if _ZEROS.fullmatch(code) else 0
        )


PLAIN = NumberFormat()


@dataclass(frozen=True)
class Styles:
    """The number formats of cell styles, by their index, and the day from which dates are counted."""

    formats: tuple[NumberFormat, ...] = ()
    counts_from_1904: bool = False

    @classmethod
    def of(cls, elements: Sequence[tuple[str, Attributes]], *, counts_from_1904: bool) -> "Styles":
        """From the elements numFmt, cellXfs and xf of the part with the styles; the first xf are not of cells."""
        codes = dict(BUILTIN_FORMATS)
        codes |= {
            _whole(a.get("numFmtId")): a.get("formatCode", "") for name, a in elements if name == "numFmt"
        }
        names = [name for name, _ in elements]
        start = names.index("cellXfs") if "cellXfs" in names else len(names)
        used = [_whole(attributes.get("numFmtId")) for name, attributes in elements[start:] if name == "xf"]
        known = {number: NumberFormat.of(codes.get(number, "")) for number in set(used)}
        return cls(tuple(known[number] for number in used), counts_from_1904)

    def format_of(self, style: str | None) -> NumberFormat:
        position = _whole(style) if style else 0
        return self.formats[position] if position < len(self.formats) else PLAIN


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0


class Rows(Handler[Row]):
    """The rows of a sheet. Blank rows are left out, so numbers have gaps; cells that are blank are "".

    Formulas are what the program computed last; an error is its word, such as #N/A.
    """

    def __init__(self, strings: SharedStrings, styles: Styles) -> None:
        super().__init__()
        self._strings = strings
        self._styles = styles
        self._number = 0
        self._column = 0
        self._cells: list[str] = []
        self._kind = "n"
        self._style: str | None = None
        self._parts: list[str] = []
        self._is_phonetic = False
        self._columns: dict[str, int] = {}
        self._epoch = CALENDAR_MAC_1904 if styles.counts_from_1904 else CALENDAR_WINDOWS_1900

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "c":
            self._kind = attributes.get("t", "n")
            self._style = attributes.get("s")
            self._parts = []
            self._place(attributes.get("r"))
        elif name in ("v", "t"):
            if not self._is_phonetic:
                self._text = []
        elif name == "row":
            self._begin_row(attributes.get("r"))
        elif name == "rPh":
            self._is_phonetic = True

    def end(self, name: str) -> None:
        if name in ("v", "t"):
            if self._text:
                self._parts.extend(self._text)
            self._text = None
        elif name == "c":
            if self._parts:
                self._keep("".join(self._parts))
        elif name == "row":
            self._end_row()
        elif name == "rPh":
            self._is_phonetic = False
        elif name == "sheetData":
            self.is_over = True

    def _begin_row(self, number: str | None) -> None:
        following = self._number + 1
        self._number = _whole(number) if number else following
        if self._number < following:
            raise damaged("its rows are not in order")
        if self._number > MAX_ROWS:
            raise damaged(f"a sheet has at most {MAX_ROWS:,} rows")
        self._column = 0
        self._cells = []

    def _end_row(self) -> None:
        self.progress += 1
        if any(self._cells):
            if sum(map(len, self._cells)) > _MAX_ROW_CHARACTERS:
                raise damaged(f"row {self._number} holds more than {_MAX_ROW_CHARACTERS:,} characters")
            self.found.append((self._number, self._cells))

    def _place(self, reference: str | None) -> None:
        """Cells that say nothing of their place follow the one before."""
        if not reference:
            self._column += 1
        else:
            letters = reference.rstrip(_DIGITS)
            self._column = self._columns.get(letters) or self._column_of(letters)
        if self._column > MAX_COLUMNS:
            raise damaged(f"a sheet has at most {MAX_COLUMNS:,} columns")

    def _column_of(self, letters: str) -> int:
        if not _COLUMN.fullmatch(letters):
            raise damaged("a cell of it is in no column")
        number = 0
        for letter in letters:
            number = 26 * number + ord(letter) - 64
        self._columns[letters] = number
        return number

    def _keep(self, value: str) -> None:
        text = self._shown(value)
        if text:
            self._cells.extend([""] * (self._column - 1 - len(self._cells)))
            if len(self._cells) >= self._column:
                raise damaged("its cells are not in order")
            self._cells.append(text)

    def _shown(self, value: str) -> str:
        match self._kind:
            case "n":
                return shown_number(value.strip(), self._styles.format_of(self._style), self._epoch)
            case "s":
                try:
                    return self._strings[int(value)]
                except (IndexError, ValueError):
                    raise damaged("a text of it is missing") from None
            case "b":
                return "TRUE" if value.strip() in ("1", "true") else "FALSE"
            case "d":
                return value.strip().removesuffix("T00:00:00")
            case _:
                return unescaped(value)


def shown_number(value: str, number_format: NumberFormat, epoch: datetime.datetime) -> str:
    """A number as a person sees it: all digits, no ".0", no exponent; a date or time in ISO 8601.

    More than 15 digits are the noise of binary fractions, which no spreadsheet program shows.
    """
    try:
        number = float(value)
    except ValueError:
        return value
    if number_format.is_date:
        return _shown_date(number, number_format, epoch)
    if value.isdigit() and value.isascii():
        digits = value.lstrip("0") or "0"
    elif number.is_integer():
        digits = str(int(number))
    elif number != number or number in (float("inf"), float("-inf")):
        return ""
    else:
        digits = format(Decimal(format(number, ".15g")), "f")
    return digits.zfill(number_format.digits) if digits.isdigit() else digits


def _shown_date(number: float, number_format: NumberFormat, epoch: datetime.datetime) -> str:
    try:
        moment = from_excel(number, epoch, timedelta=number_format.is_duration)
    except (OverflowError, ValueError):
        return ""
    if isinstance(moment, datetime.datetime):
        whole = moment.time() == datetime.time()
        return moment.date().isoformat() if whole else moment.isoformat(" ", "seconds")
    if isinstance(moment, datetime.time):
        return moment.isoformat("seconds")
    return str(moment)
