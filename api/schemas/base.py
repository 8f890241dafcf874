"""What all schemas share: unknown fields are refused, and so is text that no database could store."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from settings import get_settings
from tasks.addresses import normalise_email, normalise_phone

T = TypeVar("T")
MAX_ID = 2**63 - 1
"""The largest key of a BIGINT column."""

# Line breaks and tabs belong into sources and descriptions; the rest of these belong nowhere.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CONTROL_OR_BREAK = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
# Alphanumeric sender ids have up to 11 characters (3GPP TS 23.040, 9.1.2.5), numbers up to 15 digits (ITU-T E.164).
_SENDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ]{0,10}|\+?[0-9]{3,15}")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _as_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside the years 1 to 9999 in UTC") from error


Moment = Annotated[AwareDatetime, AfterValidator(_as_utc)]
"""A moment with its offset, in UTC from then on."""


class Input(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _is_storable(cls, value: Any) -> Any:
        # JSON can say both by an escape; databases and UTF-8 cannot.
        if isinstance(value, str):
            check_text(value)
        return value


class Output(BaseModel):
    """A response body, filled from an ORM row where the names are the same."""

    model_config = ConfigDict(from_attributes=True)


class PageOut(Output, Generic[T]):
    """One page of a list; `next_cursor` is null at the end."""

    items: list[T]
    next_cursor: int | None

    @classmethod
    def of(cls, page: Any) -> Self:
        """From a page of rows."""
        return cls.model_validate({"items": list(page.items), "next_cursor": page.next_cursor})


def check_text(text: str) -> str:
    """The text, if every database and UTF-8 can hold it; raises ValueError otherwise."""
    if _CONTROL.search(text):
        raise ValueError("text must not contain control characters")
    if _SURROGATE.search(text):
        raise ValueError("text must not contain half a surrogate pair")
    return text


def _is_one_line(text: str) -> str:
    if _CONTROL_OR_BREAK.search(text):
        raise ValueError("must be one line")
    return text


def _email(text: str) -> str:
    return normalise_email(text)


def _phone(text: str) -> str:
    return normalise_phone(text, get_settings().default_region)


def _is_no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is needed")
    return value


ONE_LINE = AfterValidator(_is_one_line)
Text = Annotated[str, AfterValidator(check_text)]
"""Text as it is, inside of lists and objects, where the check of `Input` does not reach."""


def _sender_id(text: str) -> str:
    if not _SENDER_ID.fullmatch(text):
        raise ValueError("use at most 11 letters and digits, or a number of 3 to 15 digits")
    return text


Email = Annotated[str, Field(max_length=320, examples=["ada@example.com"]), AfterValidator(_email)]
Phone = Annotated[str, Field(max_length=40, examples=["+353871234567"]), AfterValidator(_phone)]
SenderId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=16),
    Field(examples=["TheShop"]),
    AfterValidator(_sender_id),
]
Id = Annotated[int, BeforeValidator(_is_no_bool), Field(ge=1, le=MAX_ID)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=150), ONE_LINE]
