"""Custom fields."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from api.schemas.base import ONE_LINE, Input, Output, check_text
from db.fields import KEY, MAX_CHOICE_CHARACTERS, MAX_CHOICES, FieldKind

Key = Annotated[
    str,
    Field(
        pattern=f"^{KEY.pattern}$",
        examples=["city"],
        description="How templates, rules and imports name it: client.custom.city. It never changes.",
    ),
]
Label = Annotated[str, StringConstraints(strip_whitespace=True, max_length=150), ONE_LINE]
Choice = Annotated[
    str,
    BeforeValidator(lambda word: check_text(word) if isinstance(word, str) else word),
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CHOICE_CHARACTERS),
    ONE_LINE,
]


def _distinct(choices: list[str]) -> list[str]:
    if len({choice.casefold() for choice in choices}) < len(choices):
        raise ValueError("each choice once; upper and lower case make no difference")
    return choices


Choices = Annotated[list[Choice], Field(max_length=MAX_CHOICES), AfterValidator(_distinct)]


class CustomFieldIn(Input):
    """A field that clients may have a value in. `choices` are those of a choice, and of nothing else."""

    key: Key
    label: Label = ""
    kind: FieldKind
    choices: Choices = []

    @model_validator(mode="after")
    def _has_choices(self) -> Self:
        if self.kind is FieldKind.CHOICE and not self.choices:
            raise ValueError("a choice needs its choices")
        if self.kind is not FieldKind.CHOICE and self.choices:
            raise ValueError("only a field of the kind choice has choices")
        return self


class CustomFieldPatch(Input):
    """What to change; `choices` are replaced as a whole."""

    label: Label = ""
    kind: FieldKind = FieldKind.TEXT
    choices: Choices = []


class CustomFieldOut(Output):
    key: str
    label: str
    kind: FieldKind
    choices: list[str]
    created_at: datetime
    updated_at: datetime
