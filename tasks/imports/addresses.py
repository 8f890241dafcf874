"""Whom the rows of a chunk are: their emails and phones, of several columns the best. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from db.fields import FieldKind, FieldType
from tasks.imports.columns import Column, Problems, read_each
from tasks.imports.emails import read_common_email, read_email
from tasks.imports.mapping import ColumnMapping, unique_keys
from tasks.imports.phones import Phone, read_common_phone, read_phone
from tasks.imports.rejects import Problem, Reason
from tasks.imports.targets import Target
from tasks.imports.texts import clean_address

EXTENSION_FIELD = "phone_extension"
_SWITCHBOARD = Problem(
    Reason.PHONE_EXTENSION,
    f"kept without its extension, which is in the custom field {EXTENSION_FIELD}: a switchboard hardly takes an SMS",
)


@dataclass(frozen=True)
class Addresses:
    """The chosen addresses of each row, and what it is recognised by (None: by nothing).

    `spare` are custom fields, by position of the row: addresses that were not chosen, and extensions.
    """

    emails: Sequence[str | None]
    phones: Sequence[Phone | None]
    identities: Sequence[str | None]
    spare: Mapping[int, dict[str, str]]


class AddressColumns:
    """The columns of a chunk that hold emails and phones. `fields` are the custom fields that are defined."""

    def __init__(
        self, frame: pd.DataFrame, mapping: ColumnMapping, region: str, fields: Mapping[str, FieldType]
    ) -> None:
        self._region = region
        self._emails = _columns(frame, mapping, Target.EMAIL)
        self._phones = _columns(frame, mapping, Target.PHONE)
        self._size = len(frame)
        self._keys, self._extension_key = _spare_keys(mapping, fields)
        self._spare: dict[int, dict[str, str]] = {}

    def read(self, problems: Problems) -> Addresses:
        emails = self._choose_emails(problems)
        phones = self._choose_phones(problems)
        identities = [
            email or (phone.e164 if phone is not None and phone.extension is None else None)
            for email, phone in zip(emails, phones, strict=True)
        ]
        return Addresses(emails, phones, identities, self._spare)

    def _choose_emails(self, problems: Problems) -> list[str | None]:
        """The first valid one of each row."""
        chosen: list[str | None] = [None] * self._size
        for column in self._emails:
            found = read_each(column, read_email, problems, common=read_common_email)
            if column is self._emails[0]:
                chosen = found
                continue
            for position, email in enumerate(found):
                if email is None or email == chosen[position]:
                    continue
                if chosen[position] is None:
                    chosen[position] = email
                else:
                    self._keep(position, self._keys[column.name], email)
        return chosen

    def _choose_phones(self, problems: Problems) -> list[Phone | None]:
        """The first valid one without an extension, or else with one."""
        read = partial(read_phone, region=self._region)
        common = partial(read_common_phone, region=self._region)
        found = [read_each(column, read, problems, common=common) for column in self._phones]
        if not found:
            return [None] * self._size
        chosen: list[Phone | None] = found[0]
        if len(found) > 1:
            chosen = [self._choose(position, row) for position, row in enumerate(zip(*found, strict=True))]
        for position, phone in enumerate(chosen):
            if phone is not None and phone.extension:
                self._keep(position, self._extension_key, phone.extension)
                origin = next(rank for rank, column in enumerate(found) if column[position] == phone)
                problems.note(position, self._phones[origin], _SWITCHBOARD)
        return chosen

    def _choose(self, position: int, phones: Sequence[Phone | None]) -> Phone | None:
        there = [phone for phone in phones if phone is not None]
        if not there:
            return None
        chosen = min(there, key=lambda phone: phone.extension is not None)
        for column, phone in zip(self._phones, phones, strict=True):
            if phone is not None and phone.e164 != chosen.e164:
                self._keep(position, self._keys[column.name], phone.uri)
        return chosen

    def _keep(self, position: int, key: str, value: str) -> None:
        self._spare.setdefault(position, {})[key] = value


def _columns(frame: pd.DataFrame, mapping: ColumnMapping, target: Target) -> list[Column]:
    return [Column(name, frame[name].tolist(), clean_address) for name in mapping.columns_of(target)]


def _spare_keys(mapping: ColumnMapping, fields: Mapping[str, FieldType]) -> tuple[dict[str, str], str]:
    """Keys of custom fields for the emails and phones that are not chosen, by column, and the key for extensions.

    None of them is a field of the mapping, or of another kind than text.
    """
    taken = {key for _, key in mapping.custom_columns()}
    taken |= {key for key, field in fields.items() if field.kind is not FieldKind.TEXT}
    extension = unique_keys([EXTENSION_FIELD], taken)[EXTENSION_FIELD]
    names = [name for target in (Target.EMAIL, Target.PHONE) for name in mapping.columns_of(target)]
    return unique_keys(names, taken | {extension}), extension
