"""Suggests a mapping from the names of columns and what is in them, and says of each column how sure that is. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from tasks.imports.consents import read_consent
from tasks.imports.custom_columns import KnownField, suggest_customs
from tasks.imports.headers import is_custom, is_mobile, is_primary, target_of_header, words_of
from tasks.imports.mapping import ColumnMapping
from tasks.imports.profiles import EMAIL_SHAPE, PHONE_SHAPE, ColumnKind, Profile, part, profile_of, test_of
from tasks.imports.regions import date_order_in, decimal_in, suggest_region
from tasks.imports.reject_columns import ADDED_COLUMNS
from tasks.imports.targets import CONSENTS, ORDERED, DateOrder, DecimalMark, Target
from tasks.imports.texts import read_locale, read_time_zone

# A phone without doubt: in international form, or in the groups of an American or bracketed area code.
_SURE_PHONE = re.compile(r"\+\d[\d ().\-/]{7,}( ?x\d+)?|\(\d{2,5}\)[\d .\-/]{5,}|\d{3}[.\-]\d{3}[.\-]\d{4}")
_NAMELESS = re.compile(r"column \d+")
_ADDRESSES: dict[Target | None, ColumnKind] = {
    Target.EMAIL: ColumnKind.EMAIL,
    Target.PHONE: ColumnKind.PHONE,
}
_MOSTLY = 0.6
_NEARLY_ALL = 0.8

# The parts of a confidence, see `Suggestion`.
_NAME = 0.5
_CONTENTS = 0.5
_CONTENTS_ALONE = 0.8
_NAME_OF_ANY_TEXT = 0.9
_NAME_WITHOUT_CONTENTS = 0.6
_SURE = 1.0


@dataclass(frozen=True)
class Suggestion:
    """Where a column goes, and how sure that is.

    `confidence` is 0.5 for a name that means the target in one of the languages and programs we know, and 0.5 times the
    part of the sampled cells that fit it; 0.9 for such a name where any text fits (names, tags, ids), 0.6 where there is
    no content; 0.8 times the part that fits where the name says nothing. For a custom field that exists it is 0.5 times
    the likeness of the names and 0.5 times the part that fits; for a new one 0.4, since nobody knows it: its kind is
    a guess, but nothing is lost. From 0.9 on a suggestion needs no look, below 0.6 it should have one.
    """

    target: str
    confidence: float
    reason: str


@dataclass(frozen=True)
class Suggested:
    """A mapping, with the profile of and the suggestion for each column. `notes` are doubts about the whole file."""

    mapping: ColumnMapping
    profiles: Mapping[str, Profile]
    suggestions: Mapping[str, Suggestion]
    notes: tuple[str, ...]


def suggest_mapping(
    sample: pd.DataFrame, *, default_region: str, fields: Mapping[str, KnownField] | None = None
) -> ColumnMapping:
    """The mapping of `suggest`."""
    return suggest(sample, default_region=default_region, fields=fields or {}).mapping


def suggest(
    sample: pd.DataFrame, *, default_region: str, fields: Mapping[str, KnownField], is_workbook: bool = False
) -> Suggested:
    """What the columns seem to hold, from their names and from the sample's cells (text, see `read_sample`).

    What has no field of its own becomes a custom field, one of `fields` or a new one, so that nothing is lost; nameless
    columns without content, and those beyond `MAX_CUSTOM_COLUMNS`, are ignored. Phones in columns that say mobile are
    preferred over others. Numbers of a workbook have a decimal point.
    """
    contents = {str(name): [cell.strip() for cell in cells if cell.strip()] for name, cells in sample.items()}
    kinds = _settle_names(_kinds(contents))
    phones = [text for name, kind in kinds.items() if kind == Target.PHONE for text in contents[name]]
    region = suggest_region(phones, default_region)
    profiles = {
        name: profile_of(cells, region=region, kind=_ADDRESSES.get(kinds[name]))
        for name, cells in contents.items()
    }
    found = _for_fields(kinds, contents, region)
    customs = suggest_customs([n for n in contents if n not in found], contents, profiles, fields)
    found |= {name: Suggestion(*custom) for name, custom in customs.items()}
    order, order_note = _date_order(profiles, region)
    decimal, decimal_note = _decimal(profiles, region, is_workbook=is_workbook)
    mapping = ColumnMapping(
        tuple((name, found[name].target) for name in contents),
        region if region != default_region else None,
        order,
        decimal,
    )
    return Suggested(mapping, profiles, found, tuple(note for note in (order_note, decimal_note) if note))


# What a column holds


def _kinds(contents: Mapping[str, list[str]]) -> dict[str, Target | None]:
    """A target for each column, None for a custom field. Only ordered targets are given more than once."""
    kinds: dict[str, Target | None] = {}
    for name, cells in contents.items():
        kind = Target.IGNORE if name in ADDED_COLUMNS else _kind(name, cells)
        is_taken = kind in kinds.values() and kind not in (*ORDERED, Target.IGNORE)
        kinds[name] = None if is_taken else kind
    return kinds


def _kind(name: str, cells: Sequence[str]) -> Target | None:
    if is_custom(name):
        return None
    named = target_of_header(name)
    is_status = words_of(name) in ("status", "marketing status")
    if named is None and is_status and part(cells, _is_subscription) >= _NEARLY_ALL:
        return Target.EMAIL_CONSENT
    if named is None:
        return _kind_of_contents(name, cells)
    return named if _is_plausible(named, cells) else _kind_of_misnamed(named, cells)


def _kind_of_contents(name: str, cells: Sequence[str]) -> Target | None:
    if part(cells, EMAIL_SHAPE.fullmatch) >= _MOSTLY:
        return Target.EMAIL
    shape = PHONE_SHAPE if _NAMELESS.fullmatch(name) else _SURE_PHONE
    if "fax" not in words_of(name) and part(cells, shape.fullmatch) >= _MOSTLY:
        return Target.PHONE
    return None


def _kind_of_misnamed(named: Target, cells: Sequence[str]) -> Target | None:
    """A column "email" or "SMS" of yes and no tells who may be written to."""
    if part(cells, read_consent) >= _NEARLY_ALL:
        return {Target.EMAIL: Target.EMAIL_CONSENT, Target.PHONE: Target.SMS_CONSENT}.get(named)
    return None


def _is_plausible(target: Target, cells: Sequence[str]) -> bool:
    """Contents that contradict a name win; without any, the name is believed."""
    if not cells:
        return True
    if target is Target.EMAIL:
        return part(cells, lambda cell: "@" in cell) > 0
    if target is Target.PHONE:
        return part(cells, lambda cell: sum(c.isdigit() for c in cell) >= 5) > 0
    if target in CONSENTS:
        return part(cells, read_consent) >= _MOSTLY
    return True


def _is_subscription(cell: str) -> bool:
    return any(word in cell.lower() for word in ("subscribed", "cleaned", "opted"))


def _settle_names(kinds: dict[str, Target | None]) -> dict[str, Target | None]:
    """German "Name" and French "Nom" beside a first name are the last name."""
    if Target.FIRST_NAME not in kinds.values() or Target.LAST_NAME in kinds.values():
        return kinds
    return {name: Target.LAST_NAME if kind is Target.FULL_NAME else kind for name, kind in kinds.items()}


# How targets are written, and how sure they are


def _for_fields(
    kinds: Mapping[str, Target | None], contents: Mapping[str, list[str]], region: str
) -> dict[str, Suggestion]:
    ranks = _ranks(kinds)
    return {
        name: _judged(ranks.get(name, kind.value), kind, name, contents[name], region)
        for name, kind in kinds.items()
        if kind is not None
    }


def _ranks(kinds: Mapping[str, Target | None]) -> dict[str, str]:
    """`email`, `email:2`, ... for columns of targets that take several, in the order of preference."""
    specs: dict[str, str] = {}
    for target in ORDERED:
        names = [name for name, kind in kinds.items() if kind is target]
        prefers = is_mobile if target is Target.PHONE else is_primary
        names.sort(key=lambda name, prefers=prefers: not prefers(name))  # type: ignore[misc]
        specs |= {
            name: f"{target}:{rank}" if rank > 1 else target.value for rank, name in enumerate(names, 1)
        }
    return specs


def _judged(spec: str, kind: Target, name: str, cells: Sequence[str], region: str) -> Suggestion:
    if kind is Target.IGNORE:
        return Suggestion(spec, _SURE, "a file of rejected rows has this column to say what was wrong")
    is_named = target_of_header(name) is kind
    test = _test_of(kind, region)
    if not cells:
        return Suggestion(
            spec, _NAME_WITHOUT_CONTENTS, "the name says so; there is no content to compare with"
        )
    if test is None:
        return Suggestion(spec, _NAME_OF_ANY_TEXT, "the name says so; any text fits")
    looked_at = cells[:200]
    fit = part(looked_at, test)
    fits = f"{round(fit * len(looked_at))} of {len(looked_at)} cells fit"
    if is_named:
        return Suggestion(spec, round(_NAME + _CONTENTS * fit, 2), f"the name says so, and {fits}")
    return Suggestion(spec, round(_CONTENTS_ALONE * fit, 2), f"the name does not say so, but {fits}")


def _test_of(kind: Target, region: str) -> Callable[[str], object] | None:
    """What a cell of the target passes, None where any text does."""
    match kind:
        case Target.EMAIL:
            return test_of(ColumnKind.EMAIL, region)
        case Target.PHONE:
            return test_of(ColumnKind.PHONE, region)
        case Target.TIME_ZONE:
            return lambda cell: isinstance(read_time_zone(cell), str)
        case Target.LOCALE:
            return lambda cell: isinstance(read_locale(cell), str)
        case _ if kind in CONSENTS:
            return read_consent
        case _:
            return None


# What may be read in two ways


def _date_order(profiles: Mapping[str, Profile], region: str) -> tuple[DateOrder | None, str]:
    """The order for the whole file, and a note where cells do not decide it."""
    dates = {name: found for name, found in profiles.items() if found.kind is ColumnKind.DATE}
    shown = {found.date_order for found in dates.values() if found.date_order}
    if len(shown) == 1:
        return shown.pop(), ""
    if not any(found.has_ambiguous or found.date_order for found in dates.values()):
        return None, ""
    usual = date_order_in(region)
    why = "columns write dates in different orders" if shown else "no date has a day above 12"
    return usual, f"{why}: {usual} is assumed, as is usual in {region}; date_order of the mapping changes it"


def _decimal(
    profiles: Mapping[str, Profile], region: str, *, is_workbook: bool
) -> tuple[DecimalMark | None, str]:
    """As `_date_order`, for the decimal mark."""
    numbers = [found for found in profiles.values() if found.kind is ColumnKind.NUMBER]
    shown = {found.decimal for found in numbers if found.decimal}
    if len(shown) == 1:
        return shown.pop(), ""
    if not any(found.has_ambiguous or found.decimal for found in numbers):
        return None, ""
    usual = DecimalMark.POINT if is_workbook else decimal_in(region)
    why = "columns use different decimal marks" if shown else "numbers such as 1.234 may be read in two ways"
    return usual, f"{why}: '{usual}' is taken for the decimal mark; decimal of the mapping changes it"
