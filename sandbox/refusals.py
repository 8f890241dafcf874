"""One entry of SendGrid's `errors`, and what every validator needs to make them. Pure.

Source: Twilio SendGrid, "Mail Send", page "Errors".
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
_TYPE_NAMES = {
    str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array", type(None): "null",
}  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """What is wrong, and where: `field` is a path such as `personalizations.3.to.0.email`."""

    message: str
    field: str | None = None

    def as_json(self) -> dict[str, str | None]:
        return {"message": self.message, "field": self.field, "help": _help(self.field)}


def wrong_type(expected: str, value: Any, field: str) -> Refusal:
    """SendGrid's words for a value of another type than `expected` (a JSON type)."""
    return Refusal(f"Invalid type. Expected: {expected}, given: {_TYPE_NAMES[type(value)]}.", field)


def check_type(expected: type, value: Any, field: str) -> Iterator[Refusal]:
    """Nothing for a value that is left out, or one of this type; JSON's true is no number."""
    if value is not None and type(value) is not expected:
        yield wrong_type(_TYPE_NAMES[expected], value, field)


def check_properties(found: dict[str, Any], known: Sequence[str], path: str = "") -> Iterator[Refusal]:
    """Names that the object may not have, and names without a value: SendGrid wants them left out, not null."""
    for name, value in found.items():
        if name not in known:
            yield Refusal(f"Additional property {name} is not allowed", f"{path}{name}")
        elif value is None:
            yield Refusal("Invalid type. A property may be left out, but not be null.", f"{path}{name}")


def _help(field: str | None) -> str | None:
    """The anchor names the field without positions and without the last `email`."""
    if field is None:
        return None
    names = [name for name in field.split(".") if not name.isdigit()]
    if len(names) > 1 and names[-1] == "email":
        names.pop()
    return f"{HELP}#message.{'.'.join(names)}"
