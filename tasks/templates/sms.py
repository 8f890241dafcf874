"""SMS: encoding and number of parts, as GSM 03.38 and 3GPP TS 23.040 count them. Pure."""

from dataclasses import dataclass
from enum import StrEnum

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM7_EXTENSION = frozenset("^{}\\[~]|€\f")


class Encoding(StrEnum):
    GSM7 = "gsm7"
    UCS2 = "ucs2"


@dataclass(frozen=True)
class SmsSize:
    """`units` are septets (GSM-7) or 16-bit units (UCS-2); a single part holds 160 or 70, each of several 153 or 67."""

    encoding: Encoding
    characters: int
    units: int
    parts: int


def measure_sms(text: str) -> SmsSize:
    """How a text is sent and how many parts it costs. A text of no characters still is one part."""
    if all(character in _GSM7 or character in _GSM7_EXTENSION for character in text):
        widths = [2 if character in _GSM7_EXTENSION else 1 for character in text]
        return SmsSize(Encoding.GSM7, len(text), sum(widths), _parts(widths, single=160, several=153))
    widths = [2 if ord(character) > 0xFFFF else 1 for character in text]
    return SmsSize(Encoding.UCS2, len(text), sum(widths), _parts(widths, single=70, several=67))


def _parts(widths: list[int], *, single: int, several: int) -> int:
    """Parts of a text: a character of two units (an escape sequence, a surrogate pair) is never split over two."""
    if sum(widths) <= single:
        return 1
    parts, room = 1, several
    for width in widths:
        if width > room:
            parts, room = parts + 1, several
        room -= width
    return parts
