"""Which column of a file goes where: suggested from names and contents, changed by people, checked before it is used.

As JSON: `{"columns": {"E-mail": "email", "Work mail": "email:2", "City": "custom.city"}, "default_region": "US"}`. Columns
that are not named are ignored. Pure.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pandas as pd
import phonenumbers

from db.errors import Invalid
from db.fields import FieldKind
from tasks.imports.consents import read_consent
from tasks.imports.headers import is_custom, is_mobile, is_primary, slug, target_of_header, words_of
from tasks.imports.regions import suggest_region
from tasks.imports.targets import CUSTOM_KEY, CUSTOM_PREFIX, ORDERED, DateOrder, DecimalMark, Target

MAX_CUSTOM_COLUMNS = 80
"""A client has at most 100 custom fields; the rest is for those that other sources add."""

_EMAIL_SHAPE = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s.]{2,}")
_PHONE_SHAPE = re.compile(r"\+\d[\d ().\-/]{7,}( ?x\d+)?|\(\d{2,5}\)[\d .\-/]{5,}|\d{3}[.\-]\d{3}[.\-]\d{4}")
_MOSTLY = 0.6
_NEARLY_ALL = 0.8
_CONSENTS = (Target.EMAIL_CONSENT, Target.SMS_CONSENT, Target.EMAIL_OPT_OUT, Target.SMS_OPT_OUT)


_OPTIONS = ("default_region", "date_order", "decimal")
T = TypeVar("T", bound=StrEnum)


@dataclass(frozen=True)
class ColumnMapping:
    """Columns and their targets, in the order of the file. `default_region` reads phones in national form, `date_order` and
    `decimal` dates and numbers that may be read in two ways."""

    targets: tuple[tuple[str, str], ...]
    default_region: str | None = None
    date_order: DateOrder | None = None
    decimal: DecimalMark | None = None

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {"columns": dict(self.targets)}
        options = {name: getattr(self, name) for name in _OPTIONS}
        return document | {name: value for name, value in options.items() if value is not None}

    @classmethod
    def from_json(cls, document: Any) -> "ColumnMapping":
        """From the form above, or from its `columns` alone.

        Raises:
            Invalid: it is neither.
        """
        columns, options = document, {}
        if isinstance(document, Mapping) and isinstance(document.get("columns"), Mapping):
            columns, options = document["columns"], {name: document.get(name) for name in _OPTIONS}
        if not isinstance(columns, Mapping) or not all(isinstance(value, str) for value in columns.values()):
            raise Invalid("mapping", 'must be an object such as {"columns": {"E-mail": "email"}}')
        region = options.get("default_region")
        if region is not None and not isinstance(region, str):
            raise Invalid("mapping.default_region", "must be text such as IE")
        return cls(
            tuple((str(name), target) for name, target in columns.items()),
            region or None,
            _option("date_order", DateOrder, options),
            _option("decimal", DecimalMark, options),
        )

    def columns_of(self, target: Target) -> list[str]:
        """The columns that go to a target, the preferred one first."""
        found = [(_rank(spec), name) for name, spec in self.targets if _base(spec) == target]
        return [name for _, name in sorted(found, key=lambda item: item[0])]

    def custom_columns(self) -> list[tuple[str, str]]:
        """(column, key) of the custom fields."""
        return [(name, _base(spec).removeprefix(CUSTOM_PREFIX)) for name, spec in self._customs()]

    def custom_kinds(self) -> dict[str, FieldKind]:
        """What each custom field becomes, by key, if it is not defined yet."""
        kinds = (
            (_base(spec).removeprefix(CUSTOM_PREFIX), spec.partition(":")[2]) for _, spec in self._customs()
        )
        return {key: FieldKind(kind or FieldKind.TEXT) for key, kind in kinds}

    def _customs(self) -> list[tuple[str, str]]:
        return [(name, spec) for name, spec in self.targets if spec.startswith(CUSTOM_PREFIX)]


def _option(name: str, kind: type[T], options: Mapping[str, Any]) -> T | None:
    value = options.get(name)
    try:
        return None if value is None else kind(value)
    except ValueError:
        raise Invalid(f"mapping.{name}", f"must be one of: {', '.join(kind)}") from None


def suggest_mapping(sample: pd.DataFrame, *, default_region: str) -> ColumnMapping:
    """What the columns seem to hold, from their names and from the sample's cells (text, see `read_sample`).

    What has no field of its own becomes a custom field, so that nothing is lost; nameless columns without content, and
    those beyond `MAX_CUSTOM_COLUMNS`, are ignored. Phones in columns that say mobile are preferred over others.
    """
    contents = {str(name): [cell.strip() for cell in cells if cell.strip()] for name, cells in sample.items()}
    kinds = _settle_names(_kinds(contents))
    targets = _number_ordered(kinds) | _customs(kinds, contents)
    phones = (text for name, kind in kinds.items() if kind == Target.PHONE for text in contents[name])
    region = suggest_region(phones, default_region)
    return ColumnMapping(
        tuple((name, targets[name]) for name in contents), region if region != default_region else None
    )


def validate_mapping(mapping: ColumnMapping, columns: Sequence[str]) -> None:
    """Check a mapping against the file's columns.

    Raises:
        Invalid: names the column, what is wrong with it, and the nearest thing that would be right.
    """
    for name, spec in mapping.targets:
        if name not in columns:
            raise Invalid("mapping", f"the file has no column '{name}'{_nearest(name, columns)}")
        _check_target(name, spec)
    _check_single(mapping)
    if not mapping.columns_of(Target.EMAIL) and not mapping.columns_of(Target.PHONE):
        raise Invalid(
            "mapping", "no column is mapped to email or phone; a client is recognised by one of them"
        )
    region = mapping.default_region
    if region is not None and region not in phonenumbers.SUPPORTED_REGIONS:
        raise Invalid(
            "mapping.default_region", f"'{region}' is unknown; use two capital letters such as IE or US"
        )


def _base(spec: str) -> str:
    return spec.partition(":")[0]


def _rank(spec: str) -> int:
    rank = spec.partition(":")[2]
    return int(rank) if rank.isdecimal() else 1


# What a column holds


def _kinds(contents: Mapping[str, list[str]]) -> dict[str, Target | None]:
    """A target for each column, None for a custom field. Only ordered targets are given more than once."""
    kinds: dict[str, Target | None] = {}
    for name, cells in contents.items():
        kind = _kind(name, cells)
        is_taken = kind in kinds.values() and kind not in ORDERED
        kinds[name] = None if is_taken else kind
    return kinds


def _kind(name: str, cells: Sequence[str]) -> Target | None:
    if is_custom(name):
        return None
    named = target_of_header(name)
    is_status = words_of(name) in ("status", "marketing status")
    if named is None and is_status and _part(cells, _is_subscription) >= _NEARLY_ALL:
        return Target.EMAIL_CONSENT
    if named is None:
        return _kind_of_contents(name, cells)
    return named if _is_plausible(named, cells) else _kind_of_misnamed(named, cells)


def _kind_of_contents(name: str, cells: Sequence[str]) -> Target | None:
    if _part(cells, _EMAIL_SHAPE.fullmatch) >= _MOSTLY:
        return Target.EMAIL
    if "fax" not in words_of(name) and _part(cells, _PHONE_SHAPE.fullmatch) >= _MOSTLY:
        return Target.PHONE
    return None


def _kind_of_misnamed(named: Target, cells: Sequence[str]) -> Target | None:
    """A column "email" or "SMS" of yes and no tells who may be written to."""
    if _part(cells, read_consent) >= _NEARLY_ALL:
        return {Target.EMAIL: Target.EMAIL_CONSENT, Target.PHONE: Target.SMS_CONSENT}.get(named)
    return None


def _is_plausible(target: Target, cells: Sequence[str]) -> bool:
    """Contents that contradict a name win; without any, the name is believed."""
    if not cells:
        return True
    if target is Target.EMAIL:
        return _part(cells, lambda cell: "@" in cell) > 0
    if target is Target.PHONE:
        return _part(cells, lambda cell: sum(c.isdigit() for c in cell) >= 5) > 0
    if target in _CONSENTS:
        return _part(cells, read_consent) >= _MOSTLY
    return True


def _is_subscription(cell: str) -> bool:
    return any(word in cell.lower() for word in ("subscribed", "cleaned", "opted"))


def _part(cells: Sequence[str], test: Callable[[str], object]) -> float:
    return sum(bool(test(cell)) for cell in cells) / len(cells) if cells else 0.0


def _settle_names(kinds: dict[str, Target | None]) -> dict[str, Target | None]:
    """German "Name" and French "Nom" beside a first name are the last name."""
    if Target.FIRST_NAME not in kinds.values() or Target.LAST_NAME in kinds.values():
        return kinds
    return {name: Target.LAST_NAME if kind is Target.FULL_NAME else kind for name, kind in kinds.items()}


# How targets are written


def _number_ordered(kinds: Mapping[str, Target | None]) -> dict[str, str]:
    specs = {name: kind.value for name, kind in kinds.items() if kind is not None}
    for target in ORDERED:
        names = [name for name, kind in kinds.items() if kind is target]
        prefers = is_mobile if target is Target.PHONE else is_primary
        names.sort(key=lambda name, prefers=prefers: not prefers(name))  # type: ignore[misc]
        specs |= {
            name: f"{target}:{rank}" if rank > 1 else target.value for rank, name in enumerate(names, 1)
        }
    return specs


def _customs(kinds: Mapping[str, Target | None], contents: Mapping[str, list[str]]) -> dict[str, str]:
    rest = [name for name, kind in kinds.items() if kind is None]
    named = [name for name in rest if contents[name] or not re.fullmatch(r"column \d+", name)]
    kept = set(sorted(named, key=lambda name: not contents[name])[:MAX_CUSTOM_COLUMNS])
    keys = unique_keys(name for name in rest if name in kept)
    return {name: f"{CUSTOM_PREFIX}{keys[name]}" if name in kept else Target.IGNORE.value for name in rest}


def unique_keys(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A key for each name, different from each other and from those taken: `city`, `city_2`, ..."""
    used = set(taken)
    keys: dict[str, str] = {}
    for name in names:
        key, count = slug(name), 1
        while key in used:
            count += 1
            suffix = f"_{count}"
            key = slug(name)[: 64 - len(suffix)] + suffix
        used.add(key)
        keys[name] = key
    return keys


# Checks


def _check_target(name: str, spec: str) -> None:
    if spec.startswith(CUSTOM_PREFIX):
        kind = spec.partition(":")[2]
        if kind and kind not in list(FieldKind):
            raise Invalid(
                "mapping", f"column '{name}': '{kind}' is no kind of field{_nearest(kind, list(FieldKind))}"
            )
        if not CUSTOM_KEY.fullmatch(_base(spec).removeprefix(CUSTOM_PREFIX)):
            raise Invalid(
                "mapping",
                f"column '{name}': '{spec}' is no custom field; use 1 to 64 of a-z, 0-9 and _ after 'custom.', "
                f"such as custom.{slug(name)}",
            )
        return
    base, colon, rank = spec.partition(":")
    if base not in list(Target):
        raise Invalid("mapping", f"column '{name}': '{spec}' is no target{_nearest(spec, list(Target))}")
    if colon and (base not in ORDERED or not re.fullmatch(r"[1-9][0-9]?", rank)):
        raise Invalid(
            "mapping",
            f"column '{name}': '{spec}' has a bad order; only email:2, phone:3 and the like have one",
        )


def _check_single(mapping: ColumnMapping) -> None:
    first: dict[str, str] = {}
    for name, spec in mapping.targets:
        if _base(spec) in (*ORDERED, Target.IGNORE):
            continue
        if spec in first:
            raise Invalid(
                "mapping", f"columns '{first[spec]}' and '{name}' are both mapped to {spec}; choose one"
            )
        first[spec] = name
    if len(mapping.custom_columns()) > MAX_CUSTOM_COLUMNS:
        raise Invalid(
            "mapping", f"at most {MAX_CUSTOM_COLUMNS} columns can be custom fields; ignore the others"
        )


def _nearest(word: str, known: Sequence[str]) -> str:
    by_words = {words_of(item): item for item in known}
    found = difflib.get_close_matches(words_of(word), list(by_words), n=1, cutoff=0.5)
    if found:
        return f"; did you mean '{by_words[found[0]]}'?"
    return f"; there are: {', '.join(known[:30])}"
