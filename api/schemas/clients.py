"""Clients."""

import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from api.schemas.base import ONE_LINE, Email, Input, Moment, Output, Phone, check_text
from api.schemas.contacts import Contact
from db.fields import KEY, MAX_TEXT_CHARACTERS
from db.queries.import_journal import IMPORTED, UNDONE
from db.states import Consent

MAX_TAGS = 50


@lru_cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError("unknown; use an IANA name such as Europe/Dublin")
    return name


def _custom_fields(fields: Any) -> Any:
    """Keys and values that every database stores as they are, and that a template can name."""
    if not isinstance(fields, dict):
        return fields
    for key, value in fields.items():
        if not isinstance(key, str) or not KEY.fullmatch(key):
            shown = str(key)[:64].encode("ascii", "replace").decode()
            raise ValueError(f"{shown}: use 1 to 64 of a-z, 0-9 and _ in a name")
        reason = _why_unstorable(value)
        if reason:
            raise ValueError(f"{key}: {reason}")
    return fields


def _why_unstorable(value: Any) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            check_text(value)
            too_long = len(value) > MAX_TEXT_CHARACTERS
            return f"at most {MAX_TEXT_CHARACTERS} characters are kept" if too_long else None
        case int():
            return "a number of at most 63 bits is needed" if abs(value) >= 2**63 else None
        case float():
            return None if math.isfinite(value) else "a finite number is needed"
        case _:
            return "text, a number, true, false or null is needed"


def _distinct(tags: list[str]) -> list[str]:
    return list(dict.fromkeys(tags))


def _is_past(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + timedelta(minutes=5):
        raise ValueError("lies in the future")
    if moment.year < 1970:
        raise ValueError("lies before 1970")
    return moment


def _is_no_import(source: str) -> str:
    # An undoing asks whether a consent was given by a file, or by the client since: it goes by how the source begins.
    for start in (IMPORTED, UNDONE):
        if source.lower().startswith(start):
            raise ValueError(
                f"only imports write '{start}...'; say it in other words, such as 'file of the fair'"
            )
    return source


TimeZone = Annotated[str, Field(max_length=64, examples=["Europe/Dublin"]), AfterValidator(_time_zone)]
Locale = Annotated[
    str,
    Field(pattern=r"^[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*$", max_length=35, examples=["en-IE"]),
]
Tag = Annotated[
    str,
    BeforeValidator(lambda tag: check_text(tag) if isinstance(tag, str) else tag),
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50),
    ONE_LINE,
]
Tags = Annotated[list[Tag], Field(max_length=MAX_TAGS), AfterValidator(_distinct)]
CustomFields = Annotated[
    dict[str, Any],
    BeforeValidator(_custom_fields),
    Field(max_length=100),
    WithJsonSchema(
        {
            "type": "object",
            "description": "Custom fields by key, with a value of the field's kind (GET /api/custom-fields): "
            "text (1,000 characters), a number, true or false, a date such as 2026-11-23, or one of its choices.",
            "maxProperties": 100,
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
            "examples": [{"city": "Cork", "visits": 3}],
        }
    ),
]
PersonName = Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE]
ExternalId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE]


class ConsentIn(Input):
    """Where the consents in this request come from: kept in the client's log of consents."""

    source: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=60),
        ONE_LINE,
        AfterValidator(_is_no_import),
    ] = Field(examples=["sign-up form"])
    wording: (
        Annotated[str, Field(max_length=2000, description="What the client agreed to, in its words.")] | None
    ) = None
    given_at: Annotated[Moment, AfterValidator(_is_past)] | None = None


class ClientIn(Input):
    """A client: an email or a phone is needed."""

    email: Email | None = None
    phone: Phone | None = None
    external_id: ExternalId | None = None
    first_name: PersonName = ""
    last_name: PersonName = ""
    time_zone: TimeZone | None = None
    locale: Locale | None = None
    tags: Tags = []
    custom_fields: CustomFields = {}
    email_consent: Consent = Consent.UNKNOWN
    sms_consent: Consent = Consent.UNKNOWN
    consent: ConsentIn | None = None


class ClientPatch(ClientIn):
    """The fields to change; those left out stay as they are, whatever default is shown here.

    `custom_fields` are laid over those that are there, and null removes one; all other fields are replaced.
    """


class ClientOut(Output):
    id: int
    email: Contact | None
    phone: Contact | None
    external_id: str | None
    first_name: str
    last_name: str
    time_zone: str | None
    locale: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    email_consent: Consent
    sms_consent: Consent
    created_at: datetime
    updated_at: datetime
