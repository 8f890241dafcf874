"""Whose national form the phone numbers of a file are in, and how a region writes dates and numbers. Pure.

Little is guessed. Validity says nothing (Germany takes nearly any digits), and digits in groups of 3, 3 and 4 are as
Mexican as they are American: a wrong guess would make valid numbers of strangers. Only the North American way of
writing, "(415) 293-3313" or "1-415-293-3313", is told by its looks.
"""

import re
from collections.abc import Iterable

import phonenumbers
from phonenumbers import PhoneNumberFormat

from tasks.imports.targets import DateOrder, DecimalMark

# Area code and exchange begin with 2 to 9 (North American Numbering Plan).
_NORTH_AMERICAN = re.compile(
    r"(1[-. ])?(\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-.]\d{4}(\s*(x|ext\.?|#)\s*\d+)?", re.IGNORECASE
)
_LONG_DISTANCE = re.compile(r"1[-. ]\(?\d{3}\)?[-. ]\d{3}[-. ]\d{4}(\s*(x|ext\.?|#)\s*\d+)?", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_MOSTLY = 0.5
_HARDLY = 0.3

# Unicode CLDR: regions whose usual short date begins with the month, and whose usual decimal mark is the point.
_MONTH_FIRST = re.compile("US|PR|GU|VI|AS|MP|UM|PH|FM|MH|PW|BZ")
_POINT = re.compile(
    "US|PR|GU|VI|AS|MP|UM|PH|FM|MH|PW|BZ|GB|IE|IM|JE|GG|AU|NZ|CA|IN|PK|BD|LK|NP|MX|CN|HK|MO|TW|JP|KR|KP|SG|MY|TH|MM|IL"
    "|NG|GH|KE|UG|TZ|RW|ZM|ZW|BW|MW|JM|TT|BB|BS|GY|GT|HN|NI|PA|SV|DO|MT|CH|LI|AE|SA|EG|QA|KW|BH|OM|JO"
)


def date_order_in(region: str) -> DateOrder:
    """How most people of the region (ISO 3166) write a date in numbers."""
    return DateOrder.MDY if _MONTH_FIRST.fullmatch(region) else DateOrder.DMY


def decimal_in(region: str) -> DecimalMark:
    """The decimal mark that most people of the region (ISO 3166) use."""
    return DecimalMark.POINT if _POINT.fullmatch(region) else DecimalMark.COMMA


def suggest_region(numbers: Iterable[str], default_region: str) -> str:
    """US (ISO 3166) where most numbers are written the North American way, else `default_region`.

    Numbers in international form (+353...) do not count: they are read the same everywhere. Where the default region
    writes its numbers like these, it stays.
    """
    national = [text for text in map(str.strip, numbers) if text and not text.startswith(("+", "00"))]
    american = [
        text for text in national if _NORTH_AMERICAN.fullmatch(text) or _LONG_DISTANCE.fullmatch(text)
    ]
    if len(american) <= _MOSTLY * len(national):
        return default_region
    at_home = sum(_is_written_in(text, default_region) for text in american)
    return "US" if at_home < _HARDLY * len(american) else default_region


def _is_written_in(text: str, region: str) -> bool:
    """Whether it is a valid number of the region in the groups of digits that are usual there."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    number.extension = None
    usual = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
    groups = _DIGITS.findall(usual)
    is_usual = _DIGITS.findall(text)[: len(groups)] == groups
    return is_usual and phonenumbers.is_valid_number_for_region(number, region)
