"""Which national numbers there are, as one regular expression a country: phonenumbers' own metadata, asked at once. Pure.

`phonenumbers` asks up to ten patterns a number, one by one and each by name, which is most of what it costs. Nothing is decided
here that its metadata does not say: `is_valid` is its `is_valid_number`, which the tests hold it to.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

_NEVER = re.compile(r"(?!)")
# How long a country code is, by the first two digits; no code is the beginning of another.
_CODE_LENGTHS = {
    str(code).ljust(2, digit): len(str(code))
    for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    for digit in "0123456789"
    if len(str(code)) < 3
}
_TYPES = (
    "premium_rate",
    "toll_free",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
    "fixed_line",
    "mobile",
)


@dataclass(frozen=True)
class _Region:
    """A region's own valid numbers. One with `leading` digits owns all numbers that begin with them, valid or not."""

    leading: re.Pattern[str] | None
    matches: Callable[[str], object]


@dataclass(frozen=True)
class Dialling:
    """How numbers are dialled within a region.

    `abroad` is what stands before the country code of a number in another country. `own` matches the region's own numbers,
    with or without trunk prefix, and has the national number as its group; `is_alone` tells that no other region shares its
    country code, so that such a number is valid without a second look.
    """

    country_code: str
    abroad: Callable[[str], re.Match[str] | None]
    own: Callable[[str], re.Match[str] | None]
    is_alone: bool


@cache
def dialling_of(region: str) -> Dialling | None:
    """None for an unknown region, and for one whose trunk prefix is more than digits to be left out."""
    metadata = PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.general_desc is None or metadata.international_prefix is None:
        return None
    trunk = metadata.national_prefix_for_parsing or _NEVER.pattern
    if metadata.national_prefix_transform_rule or re.compile(trunk).groups:
        return None
    code = metadata.country_code or 0
    return Dialling(
        str(code),
        re.compile(metadata.international_prefix).match,
        re.compile(_own(metadata, trunk, code)).fullmatch,
        len(phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ())) == 1,
    )


def _own(metadata: PhoneMetadata, trunk: str, country_code: int) -> str:
    """A trunk prefix is left out wherever it stands. What begins with the country code or is of a length that a number within
    an area has, is left to the library."""
    lengths = metadata.general_desc.possible_length_local_only if metadata.general_desc else ()
    local = "|".join(rf"\d{{{length}}}" for length in lengths)
    not_local = rf"(?!(?:{local})\Z)" if local else ""
    return rf"(?!{country_code})(?:(?:{trunk})|(?!{trunk}))(?!0){not_local}({_pattern_of(metadata)})"


def split_code(digits: str) -> tuple[str, str] | None:
    """Country code and national number of an international number; None where a trunk prefix could stand between them."""
    length = _CODE_LENGTHS.get(digits[:2]) or 3
    code, national = digits[:length], digits[length:]
    trunk = _trunk_of(code)
    return None if trunk is None or trunk.match(national) else (code, national)


def is_valid(country_code: str, national: str) -> bool:
    """Whether it is a national number of the country code: digits, without trunk prefix or leading zero."""
    for region in _regions(country_code):
        if region.leading is not None:
            if region.leading.match(national):
                return bool(region.matches(national))
        elif region.matches(national):
            return True
    return False


@cache
def _trunk_of(country_code: str) -> re.Pattern[str] | None:
    """What may stand before the national numbers of a country code; None if there is no such code."""
    if country_code[:1] in ("", "0") or int(country_code) not in phonenumbers.COUNTRY_CODE_TO_REGION_CODE:
        return None
    region = phonenumbers.region_code_for_country_code(int(country_code))
    metadata = PhoneMetadata.metadata_for_region_or_calling_code(int(country_code), region)
    prefix = metadata.national_prefix_for_parsing if metadata else None
    return re.compile(prefix) if prefix else _NEVER


@cache
def _regions(country_code: str) -> tuple[_Region, ...]:
    names = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(country_code), ())
    found = (PhoneMetadata.metadata_for_region_or_calling_code(int(country_code), name) for name in names)
    # The only region of a code is asked for its numbers without a look at how they begin.
    is_alone = len(names) == 1
    return tuple(
        _Region(
            re.compile(metadata.leading_digits) if metadata.leading_digits and not is_alone else None,
            re.compile(_pattern_of(metadata)).fullmatch,
        )
        for metadata in found
        if metadata is not None
    )


def _pattern_of(metadata: PhoneMetadata) -> str:
    """Any of the types' numbers, within what the general description allows; two to fifteen digits."""
    general = _alternative(metadata.general_desc)
    types = [found for name in _TYPES if (found := _alternative(getattr(metadata, name)))]
    if not general or not types:
        return _NEVER.pattern
    return rf"(?=\d{{2,15}}\Z)(?={general}\Z)(?:{'|'.join(dict.fromkeys(types))})"


def _alternative(description: PhoneNumberDesc | None) -> str:
    if description is None or not description.national_number_pattern:
        return ""
    lengths = "|".join(rf"\d{{{length}}}" for length in description.possible_length)
    return (f"(?=(?:{lengths})\\Z)" if lengths else "") + f"(?:{description.national_number_pattern})"
