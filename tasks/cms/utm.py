"""Where people came from, as the links they followed say. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

LONGEST = 60


class Utm(NamedTuple):
    """Empty text where nothing was said."""

    source: str = ""
    medium: str = ""
    campaign: str = ""


def read_utm(values: Mapping[str, str]) -> Utm:
    """From the parameters of a link or the hidden fields of a form; cut short, and without what no database could store."""
    return Utm(*(_clean(values.get(f"utm_{name}", "")) for name in Utm._fields))


def _clean(text: str) -> str:
    kept = "".join(each for each in text if each.isprintable() and not "\ud800" <= each <= "\udfff")
    return kept.strip()[:LONGEST]
