"""The text of cells: without what no person typed, and no longer than is kept. Pure."""

import re
import unicodedata
from functools import lru_cache
from zoneinfo import available_timezones

from tasks.imports.rejects import Problem, Reason

MAX_NAME_CHARACTERS = 100
MAX_EXTERNAL_ID_CHARACTERS = 100
MAX_CUSTOM_CHARACTERS = 1000
MAX_TAG_CHARACTERS = 50
MAX_TAGS = 50

# Controls, half surrogate pairs, marks that turn the direction of text round, and invisible marks of encodings.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_LINE_BREAK = re.compile(r"\r\n?|[\u0085\u2028\u2029]")
_TAG_ENDS = re.compile(r":::|[,;|\n]")
_LOCALE = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|\d{3}))?")


def clean_text(cell: str) -> str:
    """The cell without surrounding blanks and without characters that nobody sees; line breaks become \\n."""
    if cell.isprintable():
        return cell.strip()
    return _UNWANTED.sub("", _LINE_BREAK.sub("\n", cell)).strip()


def clean_address(cell: str) -> str:
    """As `clean_text`, without any invisible character: none belongs into an email or a phone number."""
    text = clean_text(cell)
    if text.isascii():
        return text
    return "".join(c for c in text if unicodedata.category(c) != "Cf").replace("\xa0", " ").strip()


def read_line(text: str, limit: int) -> str | Problem:
    """One line of at most `limit` characters."""
    line = text if text.isprintable() else " ".join(text.split())
    return _kept(line, limit)


def read_custom(text: str) -> str | Problem:
    """The value of a custom field; it may have several lines."""
    return _kept(text, MAX_CUSTOM_CHARACTERS)


def read_tags(text: str) -> tuple[list[str], Problem | None]:
    """Tags, separated by comma, semicolon, |, ::: or line breaks, and what is wrong with those left out."""
    tags: dict[str, None] = {}
    problem = None
    for part in _TAG_ENDS.split(text):
        tag = read_line(part.strip().strip("\"'").strip(), MAX_TAG_CHARACTERS)
        if isinstance(tag, Problem) or (tag and len(tags) == MAX_TAGS and tag not in tags):
            problem = _BAD_TAG
        elif tag:
            tags[tag] = None
    return list(tags), problem


_BAD_TAG = Problem(
    Reason.INVALID_TAG,
    f"a tag was left out; at most {MAX_TAGS} tags of at most {MAX_TAG_CHARACTERS} characters are kept",
)


def read_time_zone(text: str) -> str | Problem:
    """The IANA name of a time zone, in any case."""
    found = _time_zones().get(text.lower().replace(" ", "_"))
    return found or Problem(
        Reason.INVALID_TIME_ZONE, "unknown time zone; use an IANA name such as Europe/Dublin"
    )


def read_locale(text: str) -> str | Problem:
    """A language tag (RFC 5646: language, script, region) in its usual case, e.g. en-IE."""
    match = _LOCALE.fullmatch(text)
    if not match:
        return Problem(Reason.INVALID_LOCALE, "no language tag; use one such as en or en-IE")
    language, script, region = match.groups()
    parts = (language.lower(), script and script.title(), region and region.upper())
    return "-".join(part for part in parts if part)


def _kept(text: str, limit: int) -> str | Problem:
    if len(text) > limit:
        return Problem(
            Reason.TOO_LONG, f"{len(text):,} characters; at most {limit:,} are kept, so the cell was left out"
        )
    if "\ufffd" in text:
        return Problem(
            Reason.BROKEN_TEXT, "characters were lost before the export (\ufffd); save the file as UTF-8"
        )
    return text


@lru_cache
def _time_zones() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones()}
