"""Texts as segment rules compare them: without regard to case, and the same on every database.

The servers fold case by the table of Unicode 3.0, in which `LOWER` of their binary collations is written. SQLite knows only ASCII, so it
is given this function; what people write into rules goes through it too.
"""

import unicodedata

# Where Unicode 3.0 has letters with a simple lower case: Latin, Greek, Cyrillic, Armenian, letterlike, circled, full width.
_BLOCKS = (range(0x0600), range(0x1E00, 0x2000), range(0x2100, 0x2500), range(0xFF00, 0x10000))
# Letters of 3.1 and 3.2, which Python cannot tell from those of 3.0.
_LATER = frozenset(
    (0x0220, 0x03D8, 0x03F4, 0x048A, 0x04C5, 0x04C9, 0x04CD, *range(0x0500, 0x0510)),
)
_TURKISH_I = 0x0130


def _table() -> dict[int, int]:
    known = unicodedata.ucd_3_2_0.category
    table = {_TURKISH_I: ord("i")}
    for block in _BLOCKS:
        for point in block:
            lower = chr(point).lower()
            if point in _LATER or len(lower) != 1 or ord(lower) == point:
                continue
            if known(chr(point)) != "Cn" and known(lower) != "Cn":
                table[point] = ord(lower)
    return table


_TABLE = _table()


def fold(text: str) -> str:
    """The text in lower case, one character for each character."""
    return text.translate(_TABLE)
