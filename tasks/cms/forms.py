"""Sign-up forms: what an author asks for, and what a visitor has typed. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tasks.addresses import AddressInvalid, normalise_email, normalise_phone

TRAP: Final = "website"
"""A field that people do not see and programs fill in."""
LONGEST: Final = 320
"""Characters of a value: as long as an email address may be."""
_LONGEST_OF: Final = {"first_name": 100, "last_name": 100}  # Longer ones no client may have.
_COLUMNS: Final = ("first_name", "last_name", "phone")


@dataclass(frozen=True)
class FormField:
    """`name` is a column of clients, or `custom.<key>`."""

    name: str
    label: str
    required: bool = False


@dataclass(frozen=True)
class SignUpForm:
    """What is asked for besides the email. `consent_text` is what a visitor agrees to, in these words."""

    consent_text: str
    from_email: str
    from_name: str = ""
    fields: tuple[FormField, ...] = ()
    client_list_id: int | None = None
    button: str = "Sign up"
    subject: str = "Please confirm your sign-up"

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "SignUpForm":
        return cls(**{**stored, "fields": tuple(FormField(**each) for each in stored.get("fields", ()))})


@dataclass(frozen=True)
class Typed:
    """What a visitor has typed, as far as it can be used, and what is wrong with the rest by name of the field."""

    email: str = ""
    values: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)


def read_typed(form: SignUpForm, given: Mapping[str, str], *, region: str) -> Typed:
    """Check what was typed. Fields that the form does not have are left out."""
    typed = Typed()
    email = typed.email
    problems, values = typed.problems, typed.values
    try:
        email = normalise_email(given.get("email", "").strip()[:LONGEST])
    except AddressInvalid:
        problems["email"] = "Please give an email address such as name@example.com."
    for each in form.fields:
        text = "".join(sign for sign in given.get(each.name, "") if sign.isprintable()).strip()
        text = text[: _LONGEST_OF.get(each.name, LONGEST)]
        if each.required and not text:
            problems[each.name] = f"Please fill in: {each.label}."
        elif text and each.name == "phone":
            try:
                values["phone"] = normalise_phone(text, region)
            except AddressInvalid:
                problems["phone"] = "Please give a phone number such as +353 87 123 4567."
        elif text:
            values[each.name] = text
    if given.get("consent") != "yes":
        problems["consent"] = "Please tick that you agree."
    return Typed(email, values, problems)


def client_values(values: Mapping[str, str]) -> dict[str, Any]:
    """What was typed, as columns of a client."""
    columns: dict[str, Any] = {name: values[name] for name in _COLUMNS if name in values}
    custom = {
        name.removeprefix("custom."): value for name, value in values.items() if name.startswith("custom.")
    }
    return columns | ({"custom_fields": custom} if custom else {})


def filled(stored: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What of the values may be written into a client who is there already: only what he lacks.

    Whoever knows an address can type it into a form, and must not be able to change what is known of its owner.
    """
    changes: dict[str, Any] = {
        name: value for name, value in values.items() if name != "custom_fields" and not stored.get(name)
    }
    known = stored.get("custom_fields") or {}
    custom = {
        key: value for key, value in values.get("custom_fields", {}).items() if known.get(key) in (None, "")
    }
    return changes | ({"custom_fields": custom} if custom else {})
