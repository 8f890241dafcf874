"""How an address is written where nobody looks for one: in raw webhooks, in cells of files, in what a provider answered. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, unquote

import orjson
import phonenumbers

from db.states import Channel

_PUNCTUATION = str.maketrans("", "", " -()./\u00a0")
# What may not stand beside an address: joann@x.ie is not ann@x.ie, and neither is ann@x.ie.example.
_BEFORE = r"(?<![\w.+\-])"
_AFTER = r"(?![\w\-]|\.\w)"


@dataclass(frozen=True)
class Traces:
    """Addresses of one person, normalised: emails, and phones in E.164."""

    emails: tuple[str, ...]
    phones: tuple[str, ...]

    @cached_property
    def texts(self) -> list[str]:
        """Texts in lower case, of which each way to write an email, and each phone with its country, has one in it."""
        written = [text for email in self.emails for text in _spellings(email)]
        return [
            *dict.fromkeys(text.lower() for text in written),
            *(phone.lstrip("+") for phone in self.phones),
        ]

    @cached_property
    def digits(self) -> list[str]:
        """The digits that all ways to write the phones have in common, where spaces and punctuation are taken out."""
        return [national for _, national in map(_split, self.phones)]

    def are_in(self, text: str) -> bool:
        """Whether the text names one of the addresses, and not just one that looks like it in part."""
        return any(self._named.search(each) for each in (text, unquote(text)))

    def are_in_cell(self, cell: str) -> bool:
        """The same for what a person typed: phones with and without their country, and with any punctuation."""
        return self.are_in(cell) or bool(self._typed.search(cell.translate(_PUNCTUATION)))

    @cached_property
    def _named(self) -> re.Pattern[str]:
        emails = [text for email in self.emails for text in _spellings(email)]
        parts = [_BEFORE + re.escape(text) + _AFTER for text in emails]
        parts += [rf"(?<!\d)(?:00)?{phone.lstrip('+')}(?!\d)" for phone in self.phones]
        return re.compile("|".join(parts) or r"(?!)", re.IGNORECASE)

    @cached_property
    def _typed(self) -> re.Pattern[str]:
        parts = [
            rf"(?<!\d)(?:(?:00)?{country}0?|0)?{national}(?!\d)"
            for country, national in map(_split, self.phones)
        ]
        return re.compile("|".join(parts) or r"(?!)")


def traces_of(addresses: Mapping[Channel, Iterable[str]]) -> Traces:
    """The traces of normalised addresses, by channel."""
    return Traces(
        tuple(sorted(addresses.get(Channel.EMAIL, ()))), tuple(sorted(addresses.get(Channel.SMS, ())))
    )


def _spellings(email: str) -> list[str]:
    """As it is, as in a link, and as in JSON with and without letters escaped."""
    escaped = "".join(c if c.isascii() else f"\\u{ord(c):04x}" for c in email)
    return list(
        dict.fromkeys(
            (email, quote(email), quote(email, safe="@"), orjson.dumps(email).decode()[1:-1], escaped)
        )
    )


def _split(phone: str) -> tuple[str, str]:
    """The country's code and the number without it."""
    try:
        number = phonenumbers.parse(phone)
    except phonenumbers.NumberParseException:
        return "", phone.lstrip("+")
    return str(number.country_code), phonenumbers.national_significant_number(number)
