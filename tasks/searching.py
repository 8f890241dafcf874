"""What somebody typed into a search box: the beginning of an email, of a phone number, or of a name. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum

import phonenumbers

_NUMBER = re.compile(r"\+?[0-9 ().\-/]+")
_LEAST_DIGITS = 3


class SearchKind(StrEnum):
    EMAIL = "email"
    PHONE = "phone"
    NAME = "name"


@dataclass(frozen=True)
class Search:
    """What is looked for, and the text it begins with: an email in lower case, digits after a +, or a name."""

    kind: SearchKind
    prefix: str


def read_search(text: str, *, region: str) -> Search:
    """An @ makes it an email; at least three digits and nothing else a phone; everything else is a name.

    The beginning of a phone may be written as +353 87, 00353 87 or, in national form of the `region` (ISO 3166), 087.
    """
    plain = " ".join(text.split())
    if "@" in plain:
        return Search(SearchKind.EMAIL, plain.lower())
    digits = re.sub(r"[^0-9]", "", plain)
    if _NUMBER.fullmatch(plain) and len(digits) >= _LEAST_DIGITS:
        return Search(SearchKind.PHONE, _phone_prefix(plain, digits, region))
    return Search(SearchKind.NAME, plain)


def _phone_prefix(plain: str, digits: str, region: str) -> str:
    if plain.startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    # In most countries a trunk prefix, often 0, stands before the number in national form (ITU-T E.123).
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    trunk = metadata.national_prefix if metadata is not None else None
    national = digits.removeprefix(trunk) if trunk else digits
    return f"+{phonenumbers.country_code_for_region(region)}{national}"
