"""Emails and phone numbers as they are stored and compared. Pure."""

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from db.states import Channel

MAX_EMAIL_CHARACTERS = 254
_GMAIL = frozenset({"gmail.com", "googlemail.com"})


class AddressInvalid(ValueError):
    """The text is no address; the message says why."""


def normalise_email(text: str) -> str:
    """The address in lower case (RFC 5321 syntax; no DNS). Suppressions must match it, so there is one spelling."""
    try:
        found = validate_email(text.strip(), check_deliverability=False)
    except EmailNotValidError as error:
        raise AddressInvalid(str(error)) from error
    email = found.normalized.lower()
    if len(email) > MAX_EMAIL_CHARACTERS:
        raise AddressInvalid(f"longer than {MAX_EMAIL_CHARACTERS} characters")
    return email


def mailbox_of(email: str) -> str:
    """Whose mailbox a normalised address leads to, as far as that can be told: what follows a plus is the owner's own mark, and
    Gmail reads no dots. To count by, never to write to."""
    local, _, domain = email.rpartition("@")
    local = local.partition("+")[0] or local
    return f"{local.replace('.', '')}@gmail.com" if domain in _GMAIL else f"{local}@{domain}"


def normalise_phone(text: str, region: str) -> str:
    """E.164, e.g. +353871234567. `region` (ISO 3166, e.g. IE) reads numbers in national form."""
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException as error:
        raise AddressInvalid(str(error)) from error
    if not phonenumbers.is_valid_number(number):
        raise AddressInvalid(f"not a valid number in {region} or with a country code")
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normalise_address(channel: Channel, text: str, region: str) -> str:
    """What messages of the channel are sent to: an email or an E.164 number. Raises AddressInvalid."""
    return normalise_email(text) if channel is Channel.EMAIL else normalise_phone(text, region)
