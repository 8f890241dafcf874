"""Which column of a file goes where: suggested (`tasks/imports/suggestions.py`), changed by people, checked before it is used.

As JSON: `{"columns": {"E-mail": "email", "Work mail": "email:2", "City": "custom.city"}, "default_region": "US"}`. Columns
that are not named are ignored. Pure.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import phonenumbers

from db.errors import Invalid
from db.fields import FieldKind, FieldType
from tasks.imports.headers import slug, words_of
from tasks.imports.targets import CUSTOM_KEY, CUSTOM_PREFIX, ORDERED, DateOrder, DecimalMark, Target

MAX_CUSTOM_COLUMNS = 80
"""A client has at most 100 custom fields; the rest is for those that other sources add."""

_LISTED = 10
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


def validate_mapping(
    mapping: ColumnMapping, columns: Sequence[str], *, fields: Mapping[str, FieldType] | None = None
) -> None:
    """Check a mapping against the file's columns and, where they are given, against the custom fields there are.

    Raises:
        Invalid: names the column, what is wrong with it, and the nearest thing that would be right.
    """
    for name, _ in mapping.targets:
        if name not in columns:
            raise Invalid("mapping", f"the file has no column '{name}'{_nearest(name, columns)}")
    check_targets(mapping)
    _check_kinds(mapping, fields)


def check_targets(mapping: ColumnMapping) -> None:
    """What can be said of a mapping without a file.

    Raises:
        Invalid: as with `validate_mapping`.
    """
    for name, spec in mapping.targets:
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


def require_fit(mapping: ColumnMapping, columns: Sequence[str], *, name: str) -> None:
    """Check that a file has every column that a saved mapping uses.

    Raises:
        Invalid: names the columns that are missing, and those of the file that the mapping does not know.
    """
    missing = [each for each, spec in mapping.targets if each not in columns and spec != Target.IGNORE]
    if not missing:
        return
    known = {each for each, _ in mapping.targets}
    extra = [each for each in columns if each not in known]
    others = f"; it has others, which the mapping does not know: {_listed(extra)}" if extra else ""
    raise Invalid("mapping_name", f"'{name}' does not fit: the file lacks {_listed(missing)}{others}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_LISTED])
    return f"{shown} and {len(names) - _LISTED} more" if len(names) > _LISTED else shown


def _base(spec: str) -> str:
    return spec.partition(":")[0]


def _rank(spec: str) -> int:
    rank = spec.partition(":")[2]
    return int(rank) if rank.isdecimal() else 1


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


def _check_kinds(mapping: ColumnMapping, fields: Mapping[str, FieldType] | None) -> None:
    """The kind that a mapping gives a field must be the one that it has."""
    for name, spec in mapping.targets:
        key, kind = _base(spec).removeprefix(CUSTOM_PREFIX), spec.partition(":")[2]
        if fields is None or not spec.startswith(CUSTOM_PREFIX) or not kind:
            continue
        field = fields.get(key)
        if field is not None and field.kind != kind:
            raise Invalid(
                "mapping",
                f"column '{name}': the custom field '{key}' is a {field.kind}, not a {kind}; "
                f"write {CUSTOM_PREFIX}{key}, or take another key",
            )
        if field is None and kind == FieldKind.CHOICE:
            raise Invalid(
                "mapping",
                f"column '{name}': the choices of '{key}' are not known; define the field by POST /api/custom-fields first",
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
