"""Types of custom fields, and what a value of each is. Pure; imported by every room that reads or writes one.

A value is stored in the JSON document `clients.custom_fields`: text as a string, a number as a number, a boolean as true or false,
a date as "2026-11-23", a choice as one of its words. A field without a value has no member in the document.
"""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

MAX_TEXT_CHARACTERS = 1000
MAX_CHOICES = 200
MAX_CHOICE_CHARACTERS = 100
KEY = re.compile(r"[a-z0-9_]{1,64}")
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Whole numbers up to this one are the same in JSON of every language and database (IEEE 754).
_EXACT = 2**53


class FieldKind(StrEnum):
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    CHOICE = "choice"


@dataclass(frozen=True)
class FieldType:
    """A custom field as it was defined; `choices` are the words of a choice, and empty for other kinds."""

    key: str
    kind: FieldKind
    choices: tuple[str, ...] = ()


class ValueRefused(ValueError):
    """The value does not fit the field; the message says what would. `key` is the field, of several."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


def check_value(field: FieldType, value: Any) -> str | int | float | bool | None:
    """A JSON value as it is stored in the field; None stays None and means no value.

    Raises:
        ValueRefused: it is of another type, or out of what is stored.
    """
    if value is None:
        return None
    match field.kind:
        case FieldKind.TEXT:
            return _text(value)
        case FieldKind.NUMBER:
            return _number(value)
        case FieldKind.BOOLEAN:
            if isinstance(value, bool):
                return value
            raise ValueRefused("true or false is needed")
        case FieldKind.DATE:
            return _date(value)
        case FieldKind.CHOICE:
            if isinstance(value, str) and value in field.choices:
                return value
            raise ValueRefused(f"one of these is needed: {', '.join(field.choices)}")


def fits(field: FieldType | None, value: Any) -> bool:
    """Whether the field, if there is one, takes the value."""
    if field is None:
        return False
    try:
        check_value(field, value)
    except ValueRefused:
        return False
    return True


def nearest(word: str, known: Collection[str]) -> str:
    """What to say after "there is no such thing": the nearest one there is, or the first of all."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    if found:
        return f"; did you mean '{found[0]}'?"
    return f"; there are: {', '.join(sorted(known)[:30])}" if known else "; there is none yet"


def check_fields(known: Mapping[str, FieldType], values: Mapping[str, Any]) -> dict[str, Any]:
    """The custom fields of a client as they are stored.

    Raises:
        ValueRefused: with the field's key, and the nearest one where there is none of the name.
    """
    checked: dict[str, Any] = {}
    for key, value in values.items():
        field = known.get(key)
        if field is None:
            hint = f"there is no such custom field{nearest(key, known)} (POST /api/custom-fields defines one)"
            raise ValueRefused(hint, key)
        try:
            checked[key] = check_value(field, value)
        except ValueRefused as error:
            raise ValueRefused(str(error), key) from None
    return checked


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueRefused("text is needed")
    if len(value) > MAX_TEXT_CHARACTERS:
        raise ValueRefused(f"at most {MAX_TEXT_CHARACTERS:,} characters are kept")
    return value


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueRefused("a number is needed")
    if not math.isfinite(value):
        raise ValueRefused("a finite number is needed")
    if abs(value) > _EXACT:
        raise ValueRefused(f"a number between -{_EXACT:,} and {_EXACT:,} is needed")
    return value


def _date(value: Any) -> str:
    if isinstance(value, str) and _ISO_DATE.fullmatch(value):
        try:
            return date.fromisoformat(value).isoformat()
        except ValueError:
            pass
    raise ValueRefused("a date such as 2026-11-23 is needed")
