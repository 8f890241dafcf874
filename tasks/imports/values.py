"""Cells as values of typed custom fields: numbers, yes and no, dates and choices as people and programs write them. Pure.

Values are those of `db.fields.check_value`; what cannot be told for certain is a `Problem`, whose message says what is accepted.
"""

import re
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

from db.fields import FieldKind, FieldType, ValueRefused, check_value
from tasks.imports.consents import read_yes_or_no
from tasks.imports.months import MONTHS
from tasks.imports.rejects import Problem, Reason
from tasks.imports.targets import DateOrder, DecimalMark
from tasks.imports.texts import read_custom

Value = str | int | float | bool
Reader = Callable[[str], "Value | Problem"]

_CURRENCY = r"[€$£¥₹₽₺]|[A-Z]{3}|kr\.?|zł|Fr\.?"
_NUMBER = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+\u2212])?\s*(?:{_CURRENCY})?\s*(?P<inner>[-+\u2212])?"
    rf"(?P<digits>\d[\d.,'’\s]*|[.,]\d+)\s*(?:{_CURRENCY}|%)?(?(open)\))"
)
_SCIENTIFIC = re.compile(r"[-+]?\d+(?:\.\d+)?[eE][-+]?\d{1,3}")
_BLANKS = re.compile(r"(?<=\d)[\s'’](?=\d{3}(?!\d))")
_EXACT_DIGITS = 15

_TIME = re.compile(r"(?:T|,?\s+)\d{1,2}(?:[:.h]\d{2}.*|\s*[ap]\.?m\.?)$", re.IGNORECASE)
_ISO = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})\.?")
_COMPACT = re.compile(r"(1[89]|20)\d{6}")
_SERIAL = re.compile(r"\d{5}(?:\.\d+)?")
_NUMERIC = re.compile(r"(\d{1,2})\s?([-/. ])\s?(\d{1,2})\s?\2\s?(\d{4}|\d{2})\.?")
_DAY_FIRST = re.compile(
    r"(\d{1,2})(?:st|nd|rd|th|er|º|\.)?[-\s/]*(?:de\s+)?([^\W\d]+)\.?,?[-\s/]*(?:de\s+)?(\d{4}|\d{2})"
)
_MONTH_FIRST = re.compile(r"([^\W\d]+)\.?[-\s/]*(\d{1,2})(?:st|nd|rd|th)?,?[-\s/]+(\d{4}|\d{2})")
_YEAR_FIRST = re.compile(r"(\d{4})[-\s/]+([^\W\d]+)\.?[-\s/]+(\d{1,2})")
# Day 1 of spreadsheet programs is 1 January 1900, and their 1900 has a 29 February.
_SERIAL_ZERO = date(1899, 12, 30)
_LAST_SHORT_YEAR = 29
_FIRST_YEAR = 1000


def reader_of(
    field: FieldType, *, date_order: DateOrder | None = None, decimal: DecimalMark | None = None
) -> Reader:
    """Reads the cleaned, non-empty cells of a column that goes to `field`.

    `date_order` and `decimal` decide only what can be read in two ways: 03/04/2026 and 1.234. Without them they are the third
    of April and a fraction.
    """
    match field.kind:
        case FieldKind.NUMBER:
            return lambda text: read_number(text, decimal or DecimalMark.POINT)
        case FieldKind.BOOLEAN:
            return read_boolean
        case FieldKind.DATE:
            return lambda text: read_date(text, date_order or DateOrder.DMY)
        case FieldKind.CHOICE:
            return _choice_reader(field)
        case _:
            return read_custom


# Numbers


def read_number(text: str, decimal: DecimalMark) -> int | float | Problem:
    """1234, -1.5, 1.234,50, 1,234.50, 1 234, 1'234, €5, 5 EUR, (5) for -5 and 12%, which is 12."""
    if text.isdigit() and text.isascii() and len(text) <= _EXACT_DIGITS:
        return int(text)
    value = float(text) if _SCIENTIFIC.fullmatch(text) else _number(text, decimal)
    try:
        check_value(_NUMBER_FIELD, value)
    except ValueRefused:
        return _BAD_NUMBER
    if value is None:
        return _BAD_NUMBER
    return int(value) if value == int(value) else value


_NUMBER_FIELD = FieldType("", FieldKind.NUMBER)
_BAD_NUMBER = Problem(
    Reason.INVALID_NUMBER, "no number; write it like 1234.5, 1,234.50 or 1.234,50, up to 16 digits"
)


def _number(text: str, decimal: DecimalMark) -> int | float | None:
    found = _NUMBER.fullmatch(text)
    if found is None or (found["sign"] and found["inner"]):
        return None
    digits = _plain_digits(_BLANKS.sub("", found["digits"].strip()), decimal)
    if digits is None:
        return None
    is_negative = bool(found["open"]) or (found["sign"] or found["inner"] or "+") != "+"
    value = float(digits) if "." in digits else int(digits)
    return -value if is_negative else value


def _plain_digits(digits: str, decimal: DecimalMark) -> str | None:
    """The digits with a point before the fraction, if there is one, and nothing between thousands."""
    marks = [c for c in digits if not c.isdigit()]
    if not all(mark in ".," for mark in marks):
        return None
    if not marks:
        return digits
    point = _fraction_mark(digits, marks, decimal)
    whole, _, fraction = digits.rpartition(point) if point else (digits, "", "")
    if point and (point in whole or not fraction.isdecimal()):
        return None
    groups = re.split(r"[.,]", whole)
    if len(groups) > 1 and not _are_thousands(groups):
        return None
    return "".join(groups) + (f".{fraction}" if point else "")


def _fraction_mark(digits: str, marks: list[str], decimal: DecimalMark) -> str:
    """Which mark stands before the fraction, "" if none does."""
    last = marks[-1]
    if len(set(marks)) == 2:
        return last
    if len(marks) > 1:
        return ""
    is_ambiguous = _are_thousands(digits.split(last))
    return "" if is_ambiguous and last != decimal else last


def _are_thousands(groups: list[str]) -> bool:
    first, *others = groups
    return 1 <= len(first) <= 3 and first[0] != "0" and all(len(group) == 3 for group in others)


# Yes and no


def read_boolean(text: str) -> bool | Problem:
    """yes, FALSE, 1, ja, non, x and other words of consents."""
    found = read_yes_or_no(text)
    return _BAD_BOOLEAN if found is None else found


_BAD_BOOLEAN = Problem(Reason.INVALID_BOOLEAN, "cannot be told from yes and no; use yes or no")


# Dates


@lru_cache(maxsize=2**16)
def read_date(text: str, order: DateOrder) -> str | Problem:
    """The date as 2026-11-23; a time behind it is left out, whatever its zone.

    Years of two digits are those of spreadsheet programs: 00 to 29 are 2000 to 2029, 30 to 99 are 1930 to 1999. Five digits
    alone are a spreadsheet's own number of a day.
    """
    try:
        found = _date(text, order)
    except (ValueError, OverflowError):
        return _BAD_DATE
    return found.isoformat() if found is not None and found.year >= _FIRST_YEAR else _BAD_DATE


_BAD_DATE = Problem(
    Reason.INVALID_DATE, "no date; write it like 2026-11-23, 23.11.2026, 11/23/2026 or 23 Nov 2026"
)


def _date(text: str, order: DateOrder) -> date | None:
    if len(text) > 10:
        text = _TIME.sub("", text).strip()
    if found := _ISO.fullmatch(text):
        return date(int(found[1]), int(found[3]), int(found[4]))
    if found := _NUMERIC.fullmatch(text):
        return _numeric(int(found[1]), int(found[3]), _year(found[4]), order)
    if _COMPACT.fullmatch(text):
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    if _SERIAL.fullmatch(text):
        return _SERIAL_ZERO + timedelta(days=int(text[:5]))
    return _named(text.casefold())


def _numeric(first: int, second: int, year: int, order: DateOrder) -> date:
    is_month_first = second > 12 or (order is DateOrder.MDY and first <= 12)
    month, day = (first, second) if is_month_first else (second, first)
    return date(year, month, day)


def _named(text: str) -> date | None:
    if (found := _DAY_FIRST.fullmatch(text)) and found[2] in MONTHS:
        return date(_year(found[3]), MONTHS[found[2]], int(found[1]))
    if (found := _MONTH_FIRST.fullmatch(text)) and found[1] in MONTHS:
        return date(_year(found[3]), MONTHS[found[1]], int(found[2]))
    if (found := _YEAR_FIRST.fullmatch(text)) and found[2] in MONTHS:
        return date(int(found[1]), MONTHS[found[2]], int(found[3]))
    return None


def _year(digits: str) -> int:
    year = int(digits)
    if len(digits) == 4:
        return year
    return year + (2000 if year <= _LAST_SHORT_YEAR else 1900)


# Choices


def _choice_reader(field: FieldType) -> Reader:
    words = {_comparable(choice): choice for choice in reversed(field.choices)}
    shown = ", ".join(field.choices[:10]) + (", ..." if len(field.choices) > 10 else "")
    accepted = f"use one of: {shown}" if field.choices else "the field has none yet: define them first"
    problem = Problem(Reason.INVALID_CHOICE, f"no choice of this field; {accepted}"[:300])
    exact = frozenset(field.choices)
    return lambda text: text if text in exact else words.get(_comparable(text), problem)


def _comparable(text: str) -> str:
    return " ".join(text.casefold().split())
