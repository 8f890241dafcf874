"""How many parts an SMS is sent in (GSM 03.38, 3GPP TS 23.040). Pure.

Written apart from the platform's own count, so that each checks the other.
"""

from collections.abc import Sequence

_GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")


def count_parts(text: str) -> int:
    """Parts as an operator bills them: 160/153 septets, or 70/67 UTF-16 units; no character is split."""
    if all(character in _GSM7 or character in _EXTENDED for character in text):
        return _parts([2 if character in _EXTENDED else 1 for character in text], single=160, several=153)
    return _parts([len(character.encode("utf-16-be")) // 2 for character in text], single=70, several=67)


def _parts(widths: Sequence[int], *, single: int, several: int) -> int:
    if sum(widths) <= single:
        return 1
    parts, used = 1, 0
    for width in widths:
        if used + width > several:
            parts, used = parts + 1, 0
        used += width
    return parts
