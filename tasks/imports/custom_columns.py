"""Which custom fields the columns go to that have no field of their own: those that exist, or new ones. Pure."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from db.fields import FieldKind, FieldType
from tasks.imports.headers import is_custom, slug, words_of
from tasks.imports.mapping import MAX_CUSTOM_COLUMNS, unique_keys
from tasks.imports.profiles import ColumnKind, Profile, part
from tasks.imports.rejects import Problem
from tasks.imports.targets import CUSTOM_PREFIX, Target
from tasks.imports.values import reader_of

_ALIKE = 0.85
_MOSTLY = 0.6
_FEWEST_CELLS = 3
_NEW = 0.4
_NEW_WITHOUT_CONTENTS = 0.2
_NAMELESS = re.compile(r"column \d+")
# Digits in such a column are a name of something, which nobody adds up and which may begin with a zero.
_NAME_OF_SOMETHING = re.compile(
    r"\b(ids?|no|nr|num|number|nummer|numero|code|zip|zipcode|eircode|post ?code|postal|plz|cp|sku|ref|reference|key|account"
    r"|konto|fax|house|apartment|pin|iban|vat|passport)\b"
)
_KINDS = {
    ColumnKind.NUMBER: FieldKind.NUMBER,
    ColumnKind.DATE: FieldKind.DATE,
    ColumnKind.BOOLEAN: FieldKind.BOOLEAN,
}

Custom = tuple[str, float, str]
"""Target, confidence and reason (see `tasks.imports.suggestions.Suggestion`)."""


@dataclass(frozen=True)
class KnownField:
    """A custom field that is defined, and what people call it."""

    type: FieldType
    label: str


def suggest_customs(
    names: Sequence[str],
    contents: Mapping[str, list[str]],
    profiles: Mapping[str, Profile],
    fields: Mapping[str, KnownField],
) -> dict[str, Custom]:
    """What each of the columns becomes. One that is like none of `fields` becomes a new one, of the kind of its cells."""
    found = _existing(names, contents, fields)
    rest = [name for name in names if name not in found]
    named = [name for name in rest if contents[name] or not _NAMELESS.fullmatch(name)]
    room = max(MAX_CUSTOM_COLUMNS - len(found), 0)
    kept = set(sorted(named, key=lambda name: not contents[name])[:room])
    keys = unique_keys([name for name in rest if name in kept], fields)
    for name in rest:
        found[name] = _new(name, keys[name], profiles[name]) if name in kept else _ignored(name, contents)
    return found


def _new(name: str, key: str, profile: Profile) -> Custom:
    kind = _KINDS.get(profile.kind)
    is_sure = profile.filled >= _FEWEST_CELLS and profile.fits == profile.filled
    is_timed = profile.kind is ColumnKind.DATE and any(":" in sample for sample in profile.samples)
    if kind is None or not is_sure or is_timed or _NAME_OF_SOMETHING.search(words_of(name)):
        confidence = _NEW if profile.filled else _NEW_WITHOUT_CONTENTS
        return (
            f"{CUSTOM_PREFIX}{key}",
            confidence,
            "no field is called so; a new custom field of text keeps it as it is",
        )
    return (
        f"{CUSTOM_PREFIX}{key}:{kind}",
        _NEW,
        f"no field is called so; each of {profile.filled} cells is a {kind}",
    )


def _ignored(name: str, contents: Mapping[str, list[str]]) -> Custom:
    if contents[name]:
        return Target.IGNORE.value, 0.5, f"at most {MAX_CUSTOM_COLUMNS} columns can be custom fields"
    return Target.IGNORE.value, 0.9, "it has neither a name nor content"


def _existing(
    names: Sequence[str], contents: Mapping[str, list[str]], fields: Mapping[str, KnownField]
) -> dict[str, Custom]:
    """Pairs of columns and fields whose names are alike and whose contents fit, the most alike ones first."""
    pairs = sorted(
        ((likeness, name, key) for name in names for key, likeness in _alike(name, fields).items()),
        key=lambda pair: -pair[0],
    )
    found: dict[str, Custom] = {}
    taken: set[str] = set()
    for likeness, name, key in pairs:
        if name in found or key in taken:
            continue
        fit = part(contents[name], _test_of(fields[key].type))
        if contents[name] and fit < _MOSTLY and not is_custom(name):
            continue
        taken.add(key)
        found[name] = (
            f"{CUSTOM_PREFIX}{key}",
            round((likeness + fit) / 2, 2),
            _why(fields[key], likeness, fit),
        )
    return found


def _alike(name: str, fields: Mapping[str, KnownField]) -> dict[str, float]:
    """The fields that are called like the column, from 0.85 (a letter differs) to 1; our own exports name them exactly."""
    if is_custom(name):
        return {slug(name): 1.0} if slug(name) in fields else {}
    words = words_of(name)
    likenesses = {
        key: max(
            difflib.SequenceMatcher(None, words, words_of(called)).ratio() if called else 0.0
            for called in (key, field.label)
        )
        for key, field in fields.items()
    }
    return {key: likeness for key, likeness in likenesses.items() if words and likeness >= _ALIKE}


def _why(field: KnownField, likeness: float, fit: float) -> str:
    called = "is called so" if likeness == 1 else "has a similar name"
    return f"the custom field '{field.label or field.type.key}' ({field.type.kind}) {called}; {fit:.0%} of the cells fit"


def _test_of(field: FieldType) -> Callable[[str], object]:
    """Whether the import can read a cell for the field."""
    read = reader_of(field)
    return lambda cell: not isinstance(read(cell), Problem)
