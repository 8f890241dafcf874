"""Turns rows of text into clients: `clean_chunk` decides for each cell what it says, and for each row whom it is. Pure.

It goes column by column: nearly all of the work is then done once for each distinct text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from db.fields import FieldKind, FieldType
from db.states import Consent
from tasks.imports.addresses import AddressColumns, Addresses
from tasks.imports.columns import Column, Distinct, Problems, note_problems, read_column
from tasks.imports.consents import read_consent, read_opt_out
from tasks.imports.full_names import split_name
from tasks.imports.mapping import ColumnMapping
from tasks.imports.phones import Phone
from tasks.imports.rejects import Problem, Reason, Reject, reject
from tasks.imports.targets import Target
from tasks.imports.texts import (
    MAX_EXTERNAL_ID_CHARACTERS,
    MAX_NAME_CHARACTERS,
    read_line,
    read_locale,
    read_tags,
    read_time_zone,
)
from tasks.imports.values import reader_of

Row = dict[str, Any]
"""A client as `advance_import` takes it (identity_key, email, phone, external_id, first_name, last_name, time_zone,
locale, tags, custom_fields, email_consent, sms_consent), and its `row_number`."""


@dataclass(frozen=True)
class CleanedChunk:
    """What became of the rows of a chunk. Each of its rows is in `rows` or has exactly one entry in `rejects`.

    `warnings` are cells that were left out, or changed in a way worth knowing, of rows that were kept. `spare_fields` are the
    custom fields of text, beside those of the mapping, that some of the rows have.
    """

    rows: list[Row]
    rejects: list[Reject]
    warnings: list[Reject]
    spare_fields: frozenset[str] = frozenset()


def clean_chunk(
    frame: pd.DataFrame,
    mapping: ColumnMapping,
    *,
    default_region: str,
    fields: Mapping[str, FieldType] | None = None,
) -> CleanedChunk:
    """Clean the rows of a chunk (text, indexed by row number: see `read_chunks`) by a mapping that was validated.

    - The first valid email and the first valid phone, in the mapping's order of preference, are the client's; others
      that are valid are kept in custom fields named after their columns.
    - A phone without an extension is preferred. One with an extension is a switchboard's: it is kept with its
      extension in the custom field `phone_extension` and a warning, and does not identify anybody.
    - A client is recognised by the email, else by the phone; a row with neither is rejected.
    - An invalid cell costs itself only, and is a warning.

    `default_region` (ISO 3166) reads phones in national form, unless the mapping has its own. `fields` are the custom fields
    as they are defined; one that is not among them is of the mapping's kind.
    """
    problems = Problems(frame.index.tolist())
    columns = AddressColumns(frame, mapping, mapping.default_region or default_region, fields or {})
    addresses = columns.read(problems)
    values: dict[str, Sequence[Any]] = {
        "row_number": problems.numbers,
        "identity_key": addresses.identities,
        "email": addresses.emails,
        "phone": [phone and phone.e164 for phone in addresses.phones],
    }
    _Reading(frame, mapping, fields or {}, problems).add_to(values, addresses.spare)
    return _put_together(frame, values, addresses, problems)


def read_identities(frame: pd.DataFrame, mapping: ColumnMapping, *, default_region: str) -> list[str]:
    """Who the rows that `clean_chunk` keeps are, at a part of its cost."""
    columns = AddressColumns(frame, mapping, mapping.default_region or default_region, {})
    found = columns.read(Problems(frame.index.tolist())).identities
    return [identity for identity in found if identity is not None]


# Fields


_CONSENT = Problem(
    Reason.INVALID_CONSENT,
    "cannot be told from yes and no, so the consent is unknown; use yes, no or nothing",
)
_CONSENTS = (
    (Target.EMAIL_CONSENT, "email_consent", read_consent),
    (Target.SMS_CONSENT, "sms_consent", read_consent),
    (Target.EMAIL_OPT_OUT, "email_consent", read_opt_out),
    (Target.SMS_OPT_OUT, "sms_consent", read_opt_out),
)


def _read_name(text: str) -> str | Problem:
    return read_line(text, MAX_NAME_CHARACTERS)


def _read_full_name(text: str) -> str | Problem:
    return read_line(text, 2 * MAX_NAME_CHARACTERS)


def _read_external_id(text: str) -> str | Problem:
    return read_line(text, MAX_EXTERNAL_ID_CHARACTERS)


_FIELDS: dict[Target, Callable[[str], str | Problem]] = {
    Target.EXTERNAL_ID: _read_external_id,
    Target.FIRST_NAME: _read_name,
    Target.LAST_NAME: _read_name,
    Target.TIME_ZONE: read_time_zone,
    Target.LOCALE: read_locale,
}


@dataclass(frozen=True)
class _Reading:
    """Reads all columns but those of addresses."""

    frame: pd.DataFrame
    mapping: ColumnMapping
    fields: Mapping[str, FieldType]
    problems: Problems

    def add_to(self, values: dict[str, Sequence[Any]], spare: Mapping[int, dict[str, str]]) -> None:
        for target, read in _FIELDS.items():
            for column in self._columns(target):
                values[target.value] = read_column(column, read, self.problems)
        for column in self._columns(Target.FULL_NAME):
            self._fill_names(column, values)
        for column in self._columns(Target.TAGS):
            values["tags"] = self._read_tags(column)
        values |= self._consents()
        values["custom_fields"] = self._customs(spare)

    def _fill_names(self, column: Column, values: dict[str, Sequence[Any]]) -> None:
        """A full name fills what columns of its parts leave empty, if they say nothing at all."""
        nothing = [None] * len(column.cells)
        first, last = (list(values.get(name, nothing)) for name in ("first_name", "last_name"))
        names = Distinct(_read_full_name, clean=column.clean)
        for position, cell in enumerate(column.cells):
            if first[position] or last[position]:
                continue
            name = names[cell]
            if name is not None:
                first[position], last[position] = self._split(position, column, name)
            elif cell in names.problems:
                self.problems.note(position, column, names.problems[cell])
        values["first_name"], values["last_name"] = first, last

    def _split(self, position: int, column: Column, name: str) -> list[str | None]:
        parts: list[str | None] = []
        for part in map(_read_name, split_name(name)):
            if isinstance(part, Problem):
                self.problems.note(position, column, part)
            parts.append(None if isinstance(part, Problem) else part)
        return parts

    def _read_tags(self, column: Column) -> list[list[str]]:
        by_text: dict[str, Problem] = {}
        found: dict[str, list[str]] = {}
        for text in set(column.cells):
            found[text], problem = read_tags(column.clean(text))
            if problem:
                by_text[text] = problem
        note_problems(column, by_text, self.problems)
        return [found[text] for text in column.cells]

    def _consents(self) -> dict[str, list[Consent]]:
        """Of a consent and an opt-out, the denial counts."""
        unknown = [Consent.UNKNOWN] * len(self.frame)
        values = {"email_consent": unknown, "sms_consent": unknown}
        for target, key, read in _CONSENTS:
            for column in self._columns(target):
                found = read_column(column, _told_apart(read), self.problems)
                values[key] = [
                    now if now is Consent.DENIED or (now and before is Consent.UNKNOWN) else before
                    for before, now in zip(values[key], found, strict=True)
                ]
        return values

    def _customs(self, spare: Mapping[int, dict[str, str]]) -> list[dict[str, Any]]:
        kinds = self.mapping.custom_kinds()
        columns: dict[str, list[Any]] = {}
        for name, key in self.mapping.custom_columns():
            field = self.fields.get(key) or _undefined(key, kinds[key])
            read = reader_of(field, date_order=self.mapping.date_order, decimal=self.mapping.decimal)
            columns[key] = read_column(Column(name, self.frame[name].tolist()), read, self.problems)
        customs: list[dict[str, Any]] = [{} for _ in range(len(self.frame))]
        if columns:
            customs = [
                {key: value for key, value in zip(columns, row, strict=True) if value is not None}
                for row in zip(*columns.values(), strict=True)
            ]
        for position, values in spare.items():
            customs[position] = values | customs[position]
        return customs

    def _columns(self, target: Target) -> list[Column]:
        return [Column(name, self.frame[name].tolist()) for name in self.mapping.columns_of(target)]


def _undefined(key: str, kind: FieldKind) -> FieldType:
    """A field that is not there yet: any text may become one of its choices."""
    return FieldType(key, FieldKind.TEXT if kind is FieldKind.CHOICE else kind)


def _told_apart(read: Callable[[str], Consent | None]) -> Callable[[str], Consent | Problem]:
    return lambda text: read(text) or _CONSENT


# Rows


_NO_ADDRESS = Problem(Reason.NO_ADDRESS, "the row has neither an email nor a phone; one of them is needed")
_SHARED = Problem(
    Reason.PHONE_EXTENSION,
    "a switchboard's number belongs to many and identifies nobody; add an email or a number without extension",
)


def _put_together(
    frame: pd.DataFrame, values: Mapping[str, Sequence[Any]], addresses: Addresses, problems: Problems
) -> CleanedChunk:
    names = list(values)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]
    nobody = {position for position, identity in enumerate(addresses.identities) if identity is None}
    rejects: list[Reject] = []
    if nobody:
        rows = [row for position, row in enumerate(rows) if position not in nobody]
        cells = frame.to_numpy(dtype=object)
        rejects = [
            _why_nobody(problems, position, addresses.phones[position], tuple(cells[position]))
            for position in sorted(nobody)
        ]
    noted = sorted(problems.by_position.items())
    warnings = [found for position, some in noted if position not in nobody for found in some]
    spare = {key for position, some in addresses.spare.items() if position not in nobody for key in some}
    return CleanedChunk(rows, rejects, warnings, frozenset(spare))


def _why_nobody(problems: Problems, position: int, phone: Phone | None, cells: tuple[str, ...]) -> Reject:
    """The row's first bad address says more than that there is none."""
    noted = problems.by_position.get(position, [])
    if phone is not None:
        found = next(some for some in noted if some.reason is Reason.PHONE_EXTENSION)
        return replace(found, message=_SHARED.message, cells=cells)
    if noted:
        return replace(noted[0], cells=cells)
    return reject(problems.numbers[position], "", "", _NO_ADDRESS, cells=cells)
