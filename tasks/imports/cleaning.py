"""Turns rows of text into clients: `clean_chunk` decides for each cell what it says, and for each row whom it is. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pandas as pd

from db.states import Consent
from tasks.imports.consents import read_consent, read_opt_out
from tasks.imports.emails import read_email
from tasks.imports.full_names import split_name
from tasks.imports.mapping import ColumnMapping, unique_keys
from tasks.imports.phones import Phone, read_phone
from tasks.imports.rejects import Problem, Reason, Reject, reject
from tasks.imports.targets import Target
from tasks.imports.texts import (
    MAX_EXTERNAL_ID_CHARACTERS,
    MAX_NAME_CHARACTERS,
    clean_address,
    clean_text,
    read_custom,
    read_line,
    read_locale,
    read_tags,
    read_time_zone,
)

Row = dict[str, Any]
"""A client as `upsert_clients` takes it (identity_key, email, phone, external_id, first_name, last_name, time_zone,
locale, tags, custom_fields, email_consent, sms_consent), and its `row_number`."""

EXTENSION_FIELD = "phone_extension"


@dataclass(frozen=True)
class CleanedChunk:
    """What became of the rows of a chunk. Each of its rows is in `rows` or has exactly one entry in `rejects`.

    `warnings` are cells that were left out, or changed in a way worth knowing, of rows that were kept.
    """

    rows: list[Row]
    rejects: list[Reject]
    warnings: list[Reject]


def clean_chunk(frame: pd.DataFrame, mapping: ColumnMapping, *, default_region: str) -> CleanedChunk:
    """Clean the rows of a chunk (text, indexed by row number: see `read_chunks`) by a mapping that was validated.

    - The first valid email and the first valid phone, in the mapping's order of preference, are the client's; others
      that are valid are kept in custom fields named after their columns.
    - A phone without an extension is preferred. One with an extension is a switchboard's: it is kept with its
      extension in the custom field `phone_extension` and a warning, and does not identify anybody.
    - A client is recognised by the email, else by the phone; a row with neither is rejected.
    - An invalid cell costs itself only, and is a warning.

    `default_region` (ISO 3166) reads phones in national form, unless the mapping has its own.
    """
    plan = _Plan.of(frame, mapping, mapping.default_region or default_region)
    done = CleanedChunk([], [], [])
    for row_number, position in zip(frame.index.tolist(), count(), strict=False):
        _clean_row(int(row_number), position, plan, done)
    return done


@dataclass(frozen=True)
class _Column:
    """A column's cells, cleaned; `key` is the field it goes to."""

    name: str
    key: str
    cells: list[str]


@dataclass(frozen=True)
class _Plan:
    """The columns of a frame by what is done with them."""

    region: str
    emails: list[_Column]
    phones: list[_Column]
    fields: list[tuple[_Column, Callable[[str], Any]]]
    full_names: list[_Column]
    tags: list[_Column]
    consents: list[tuple[_Column, Callable[[str], Consent | None]]]
    customs: list[_Column]

    @classmethod
    def of(cls, frame: pd.DataFrame, mapping: ColumnMapping, region: str) -> "_Plan":
        spare = _spare_keys(mapping)

        def columns(target: Target, clean: Callable[[str], str] = clean_text, key: str = "") -> list[_Column]:
            return [
                _Column(name, spare.get(name) or key or target.value, _cells(frame, name, clean))
                for name in mapping.columns_of(target)
            ]

        return cls(
            region=region,
            emails=columns(Target.EMAIL, clean_address),
            phones=columns(Target.PHONE, clean_address),
            fields=[(column, read) for target, read in _FIELDS.items() for column in columns(target)],
            full_names=columns(Target.FULL_NAME),
            tags=columns(Target.TAGS),
            consents=[
                (column, read) for target, key, read in _CONSENTS for column in columns(target, key=key)
            ],
            customs=[
                _Column(name, key, _cells(frame, name, clean_text)) for name, key in mapping.custom_columns()
            ],
        )


def _read_name(text: str) -> str | Problem:
    return read_line(text, MAX_NAME_CHARACTERS)


def _read_external_id(text: str) -> str | Problem:
    return read_line(text, MAX_EXTERNAL_ID_CHARACTERS)


_FIELDS: dict[Target, Callable[[str], str | Problem]] = {
    Target.EXTERNAL_ID: _read_external_id,
    Target.FIRST_NAME: _read_name,
    Target.LAST_NAME: _read_name,
    Target.TIME_ZONE: read_time_zone,
    Target.LOCALE: read_locale,
}
_CONSENTS = (
    (Target.EMAIL_CONSENT, "email_consent", read_consent),
    (Target.SMS_CONSENT, "sms_consent", read_consent),
    (Target.EMAIL_OPT_OUT, "email_consent", read_opt_out),
    (Target.SMS_OPT_OUT, "sms_consent", read_opt_out),
)
_NO_ADDRESS = Problem(Reason.NO_ADDRESS, "the row has neither an email nor a phone; one of them is needed")
_SWITCHBOARD = Problem(
    Reason.PHONE_EXTENSION,
    f"kept without its extension, which is in the custom field {EXTENSION_FIELD}: a switchboard hardly takes an SMS",
)
_SHARED = Problem(
    Reason.PHONE_EXTENSION,
    "a switchboard's number belongs to many and identifies nobody; add an email or a number without extension",
)
_CONSENT = Problem(
    Reason.INVALID_CONSENT,
    "cannot be told from yes and no, so the consent is unknown; use yes, no or nothing",
)


def _cells(frame: pd.DataFrame, name: str, clean: Callable[[str], str]) -> list[str]:
    return [clean(cell) if cell else "" for cell in frame[name].tolist()]


def _spare_keys(mapping: ColumnMapping) -> dict[str, str]:
    """Keys of custom fields for the emails and phones that are not chosen, by column."""
    names = [name for target in (Target.EMAIL, Target.PHONE) for name in mapping.columns_of(target)]
    return unique_keys(names, [EXTENSION_FIELD, *(key for _, key in mapping.custom_columns())])


# One row


@dataclass
class _Draft:
    """A row on its way: what was found so far, and what is wrong with its cells."""

    row_number: int
    values: Row = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    problems: list[Reject] = field(default_factory=list)

    def note(self, column: _Column, position: int, problem: Problem) -> None:
        self.problems.append(reject(self.row_number, column.name, column.cells[position], problem))


def _clean_row(row_number: int, position: int, plan: _Plan, done: CleanedChunk) -> None:
    draft = _Draft(row_number)
    email = _choose_email(plan.emails, position, draft)
    phone = _choose_phone(plan, position, draft)
    identity = email or (phone.e164 if phone and not phone.extension else None)
    if identity is None:
        done.rejects.append(_why_nobody(draft, phone))
        return
    _read_fields(plan, position, draft)
    done.rows.append(
        {
            "row_number": row_number,
            "identity_key": identity,
            "email": email,
            "phone": phone.e164 if phone else None,
            **draft.values,
            "custom_fields": draft.custom,
        }
    )
    done.warnings.extend(draft.problems)


def _why_nobody(draft: _Draft, phone: Phone | None) -> Reject:
    """The row's first bad address says more than that there is none."""
    if phone is not None:
        found = next(p for p in draft.problems if p.reason is Reason.PHONE_EXTENSION)
        return Reject(draft.row_number, found.column, found.value, found.reason, _SHARED.message)
    return draft.problems[0] if draft.problems else reject(draft.row_number, "", "", _NO_ADDRESS)


def _choose_email(columns: Iterable[_Column], position: int, draft: _Draft) -> str | None:
    chosen = None
    for column in columns:
        text = column.cells[position]
        if not text:
            continue
        email = read_email(text)
        if isinstance(email, Problem):
            draft.note(column, position, email)
        elif chosen is None:
            chosen = email
        elif email != chosen:
            draft.custom[column.key] = email
    return chosen


def _choose_phone(plan: _Plan, position: int, draft: _Draft) -> Phone | None:
    found: list[tuple[_Column, Phone]] = []
    for column in plan.phones:
        text = column.cells[position]
        if not text:
            continue
        phone = read_phone(text, plan.region)
        if isinstance(phone, Problem):
            draft.note(column, position, phone)
        else:
            found.append((column, phone))
    if not found:
        return None
    chosen_column, chosen = min(found, key=lambda item: item[1].extension is not None)
    draft.custom.update((column.key, phone.uri) for column, phone in found if phone.e164 != chosen.e164)
    if chosen.extension:
        draft.custom[EXTENSION_FIELD] = chosen.extension
        draft.note(chosen_column, position, _SWITCHBOARD)
    return chosen


def _read_fields(plan: _Plan, position: int, draft: _Draft) -> None:
    values = draft.values
    for column, read in plan.fields:
        values[column.key] = _value(column, position, read, draft)
    for column in plan.full_names:
        _fill_names(column, position, draft)
    for column in plan.tags:
        tags, problem = read_tags(column.cells[position])
        values["tags"] = tags
        if problem:
            draft.note(column, position, problem)
    values["email_consent"] = values["sms_consent"] = Consent.UNKNOWN
    for column, read_word in plan.consents:
        _read_consent(column, position, read_word, draft)
    for column in plan.customs:
        value = _value(column, position, read_custom, draft)
        if value:
            draft.custom[column.key] = value


def _value(column: _Column, position: int, read: Callable[[str], str | Problem], draft: _Draft) -> str | None:
    text = column.cells[position]
    if not text:
        return None
    value = read(text)
    if isinstance(value, Problem):
        draft.note(column, position, value)
        return None
    return value


def _fill_names(column: _Column, position: int, draft: _Draft) -> None:
    """A full name fills what columns of its parts leave empty, if they say nothing at all."""
    if draft.values.get("first_name") or draft.values.get("last_name"):
        return
    name = _value(column, position, lambda text: read_line(text, 2 * MAX_NAME_CHARACTERS), draft)
    if name is None:
        return
    for key, part in zip(("first_name", "last_name"), split_name(name), strict=True):
        value = _read_name(part)
        if isinstance(value, Problem):
            draft.note(column, position, value)
        else:
            draft.values[key] = value


def _read_consent(
    column: _Column, position: int, read: Callable[[str], Consent | None], draft: _Draft
) -> None:
    """Of a consent and an opt-out, the denial counts."""
    text = column.cells[position]
    if not text:
        return
    consent = read(text)
    if consent is None:
        draft.note(column, position, _CONSENT)
    elif consent is Consent.DENIED or draft.values[column.key] is Consent.UNKNOWN:
        draft.values[column.key] = consent
