"""Phone numbers as files write them. The verdicts are those of `tasks.addresses.normalise_phone`. Pure."""

import re
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberFormat, ValidationResult

from tasks.imports.rejects import Problem, Reason

# Digits in groups, from where on the library's parser has nothing to interpret.
_PLAIN = re.compile(r"(?:\+[1-9]|0[1-9])\d*(?:[ -]\d+)*")
_GROUPING = str.maketrans("", "", " -")
# What spreadsheet programs make of a number: ="0871234567", '0871234567 (text), 3.53871E+11 (rounded).
_AS_TEXT = re.compile(r"=\"(.*)\"|'(.*)")
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?[eE]\+?\d{1,2}")


@dataclass(frozen=True)
class Phone:
    """A valid number. One with an extension is a switchboard's: it can be called, but hardly takes an SMS."""

    e164: str
    extension: str | None = None

    @property
    def uri(self) -> str:
        """The number with its extension (RFC 3966, without `tel:`), e.g. +14152933313;ext=371."""
        return f"{self.e164};ext={self.extension}" if self.extension else self.e164


def read_phone(text: str, region: str) -> Phone | Problem:
    """The number in E.164, read in national form of `region` (ISO 3166) unless it begins with + or the like."""
    plain = _PLAIN.fullmatch(text)
    e164 = _parse_plain(text.translate(_GROUPING), region) if plain else None
    if e164 is not None:
        return Phone(e164)
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


# The short way. `parse` costs four times as much as everything else, and for plain digits nothing is left to its
# judgement: a country code is the only one that the digits begin with, and no national prefix is there to be
# stripped, or it is a lone 0. Only valid numbers are answered here; all others are left to the library.


def _parse_plain(digits: str, region: str) -> str | None:
    """The E.164 form of a valid number, None for any number that the library has to look at."""
    if digits[0] == "+":
        split = _split(digits[1:])
        if split is None:
            return None
        country_code, national = split
    else:
        own_code = _code_of_plain_region(region)
        if own_code is None:
            return None
        country_code, national = own_code, digits[1:]
    if national[:1] in ("", "0") or len(national) > 15:
        return None
    is_valid = phonenumbers.is_valid_number(
        PhoneNumber(country_code=country_code, national_number=int(national))
    )
    return f"+{country_code}{national}" if is_valid else None


def _split(digits: str) -> tuple[int, str] | None:
    """Country code and national number, None where a national prefix could stand between them."""
    for length in (1, 2, 3):
        prefix = _national_prefix(int(digits[:length]))
        if prefix is not None:
            national = digits[length:]
            return None if prefix.match(national) else (int(digits[:length]), national)
    return None


_NEVER = re.compile(r"(?!)")


@cache
def _national_prefix(country_code: int) -> re.Pattern[str] | None:
    """What may stand before national numbers of a country code; None if there is no such code."""
    if country_code not in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        return None
    region = phonenumbers.region_code_for_country_code(country_code)
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(country_code, region)
    prefix = metadata.national_prefix_for_parsing if metadata else None
    return re.compile(prefix) if prefix else _NEVER


@cache
def _code_of_plain_region(region: str) -> int | None:
    """The country code of a region that shares it with no other, and whose national prefix is a lone 0."""
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.country_code is None:
        return None
    is_alone = len(phonenumbers.COUNTRY_CODE_TO_REGION_CODE[metadata.country_code]) == 1
    is_plain = metadata.national_prefix_for_parsing == "0" and not metadata.national_prefix_transform_rule
    return metadata.country_code if is_alone and is_plain and metadata.international_prefix == "00" else None
