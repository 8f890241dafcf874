"""Phone numbers as files write them. The verdicts are those of `tasks.addresses.normalise_phone`. Pure."""

import re
from typing import NamedTuple

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberFormat, ValidationResult

from tasks.imports.numbering import dialling_of, is_valid, split_code
from tasks.imports.rejects import Problem, Reason

# Digits in groups, in which the library's parser finds nothing but the digits.
_PLAIN = re.compile(r"\+[1-9][0-9 .()-]*|[0-9(][0-9 .()-]*")
_GROUPING = str.maketrans("", "", " .()-")
# What spreadsheet programs make of a number: ="0871234567", '0871234567 (text), 3.53871E+11 (rounded).
_AS_TEXT = re.compile(r"=\"(.*)\"|'(.*)")
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d{1,2}")


class Phone(NamedTuple):
    """A valid number. One with an extension is a switchboard's: it can be called, but hardly takes an SMS."""

    e164: str
    extension: str | None = None

    @property
    def uri(self) -> str:
        """The number with its extension (RFC 3966, without `tel:`), e.g. +14152933313;ext=371."""
        return f"{self.e164};ext={self.extension}" if self.extension else self.e164


def read_phone(text: str, region: str) -> Phone | Problem:
    """The number in E.164, read in national form of `region` (ISO 3166) unless it begins with + or the like."""
    common = read_common_phone(text, region)
    if common is not None:
        return common
    wrapped = _AS_TEXT.fullmatch(text)
    return _read_any((wrapped[1] or wrapped[2] or "").strip() if wrapped else text, region)


def _read_any(text: str, region: str) -> Phone | Problem:
    if _ROUNDED.fullmatch(text):
        return _problem(
            "a spreadsheet program rounded it; give the column the format 'text' there and export it again"
        )
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return _problem(f"no phone number; write +353871234567, or the national form of {region}")
    if phonenumbers.is_valid_number(number):
        return Phone(phonenumbers.format_number(number, PhoneNumberFormat.E164), number.extension or None)
    return _problem(_why_invalid(number, region))


def _problem(message: str) -> Problem:
    return Problem(Reason.INVALID_PHONE, message)


def _why_invalid(number: PhoneNumber, region: str) -> str:
    where = phonenumbers.region_code_for_country_code(number.country_code or 0)
    match phonenumbers.is_possible_number_with_reason(number):
        case ValidationResult.TOO_SHORT:
            why = f"too short for a number of {where}"
        case ValidationResult.TOO_LONG:
            why = f"too long for a number of {where}"
        case ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            why = f"the area code is missing ({where})"
        case ValidationResult.IS_POSSIBLE:
            why = f"no such number in {where}: its area code or prefix is not in use"
        case _:
            why = f"no number of {where} has this length"
    return f"{why}; write +353871234567, or the national form of {region}"


# The short way. `parse` costs ten times as much as everything else, and for plain digits little is left to its judgement: a
# country code is the only one that the digits begin with, and what stands before a national number is left out or not
# there. Only valid numbers are answered here; all others are left to the library.


def read_common_phone(text: str, region: str) -> Phone | None:
    """A valid number in plain digits, None for all that the library has to look at."""
    if not _PLAIN.fullmatch(text):
        return None
    digits = text.translate(_GROUPING)
    e164 = _parse_international(digits[1:]) if digits[:1] == "+" else _parse_national(digits, region)
    return Phone(e164) if e164 is not None else None


def _parse_national(digits: str, region: str) -> str | None:
    dialling = dialling_of(region)
    if dialling is None:
        return None
    abroad = dialling.abroad(digits)
    if abroad is not None:
        return _parse_international(digits[abroad.end() :])
    found = dialling.own(digits)
    if found is None or not (dialling.is_alone or is_valid(dialling.country_code, found[1])):
        return None
    return f"+{dialling.country_code}{found[1]}"


def _parse_international(digits: str) -> str | None:
    split = split_code(digits)
    if split is None or split[1][:1] in ("", "0"):
        return None
    return f"+{digits}" if is_valid(*split) else None
