"""A name in one cell, as first and last name. Pure."""

_TITLES = "mr|mrs|ms|miss|mx|dr|prof|sir|herr|frau|m|mme|mlle|sr|sra|don|dona"
_SUFFIXES = "jr|sr|ii|iii|iv|phd|md|esq"


def split_name(name: str) -> tuple[str, str]:
    """(first, last). "Byrne, Aoife" is turned round; titles are left out; of several words the first is the first name.

    Names have no rules (a second first name looks like a last name), so that greeting by the first word is the aim.
    """
    last, comma, first = name.partition(",")
    if comma and first.strip() and _bare(first.strip()) not in _SUFFIXES.split("|"):
        return " ".join(_without_title(first.split())), last.strip()
    words = _without_title(name.split())
    return words[0] if words else "", " ".join(words[1:])


def _without_title(words: list[str]) -> list[str]:
    while len(words) > 1 and _bare(words[0]) in _TITLES.split("|") and (len(words[0]) > 1 or len(words) > 2):
        words = words[1:]
    return words


def _bare(word: str) -> str:
    return word.rstrip(".").lower()
