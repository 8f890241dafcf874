"""What Mail Send v3 refuses in one personalization. Pure.

Source: Twilio SendGrid's OpenAPI description of Mail Send v3, and its pages "Errors" and "Limitations".
"""

import re
import time
from collections.abc import Iterator
from typing import Any

from email_validator import EmailNotValidError, validate_email

from sandbox.refusals import Refusal, check_properties, check_type, wrong_type

MAX_SUBSTITUTION_BYTES = 10_000
MAX_CUSTOM_ARGS_BYTES = 10_000
LONGEST_DELAY_SECONDS = 72 * 3600
RECIPIENT_KINDS = ("to", "cc", "bcc")
_KNOWN = (
    "from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data", "custom_args", "send_at",
)  # fmt: skip
_RESERVED_HEADERS = frozenset({
    "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to", "from",
    "subject", "reply-to", "cc", "bcc",
})  # fmt: skip
# RFC 5321: a dot-string, and a domain of at least two labels whose last is no number.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ASCII_EMAIL = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?!\d+$){_LABEL}")


def refusals_of_personalization(person: Any, path: str, mail: dict[str, Any]) -> Iterator[Refusal]:
    """Everything wrong with `personalizations.N` (`path`) of a request."""
    if not isinstance(person, dict):
        yield wrong_type("object", person, path)
        return
    yield from check_properties(person, _KNOWN, f"{path}.")
    yield from _recipients(person, path)
    if person.get("from") is not None:
        yield from sender_refusals(person["from"], f"{path}.from")
    yield from subject_refusals(person.get("subject"), f"{path}.subject")
    yield from header_refusals(person.get("headers"), f"{path}.headers")
    yield from send_at_refusals(person.get("send_at"), f"{path}.send_at")
    yield from custom_args_refusals(person.get("custom_args"), mail.get("custom_args"), f"{path}.custom_args")
    yield from _template_data(person, path, mail)


def address_refusals(address: Any, path: str) -> Iterator[Refusal]:
    """An object of email and name, as in `to` and `reply_to`."""
    if not isinstance(address, dict):
        yield wrong_type("object", address, path)
        return
    yield from check_properties(address, ("email", "name"), f"{path}.")
    if not is_email(address.get("email")):
        yield Refusal("Does not contain a valid address.", f"{path}.email")
    yield from check_type(str, address.get("name"), f"{path}.name")


def sender_refusals(sender: Any, path: str) -> Iterator[Refusal]:
    if not isinstance(sender, dict) or not sender.get("email"):
        yield Refusal(
            "The from object must be provided for every email send. It is an object that requires the email parameter,"
            ' but may also contain a name parameter.  e.g. {"email" : "example@example.com"}  or {"email" :'
            ' "example@example.com", "name" : "Example Recipient"}.',
            f"{path}.email",
        )
    elif not is_email(sender["email"]):
        yield Refusal("The from email does not contain a valid address.", f"{path}.email")
    elif sender.get("name") is not None:
        yield from check_type(str, sender["name"], f"{path}.name")


def subject_refusals(subject: Any, path: str) -> Iterator[Refusal]:
    if subject is None:
        return
    if not isinstance(subject, str):
        yield wrong_type("string", subject, path)
    elif not subject:
        yield Refusal("The subject must be a string at least one character in length.", path)
    elif "\r" in subject or "\n" in subject:
        yield Refusal("The subject must not contain a carriage return or a newline character.", path)


def header_refusals(headers: Any, path: str) -> Iterator[Refusal]:
    if headers is None:
        return
    if not isinstance(headers, dict):
        yield wrong_type("object", headers, path)
        return
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS:
            yield Refusal(f"The header {name} is reserved and may not be set.", f"{path}.{name}")
        if not name or not name.isascii() or not name.isprintable() or " " in name or ":" in name:
            yield Refusal("Header names must be ASCII, without spaces and colons.", f"{path}.{name}")
        if not isinstance(value, str):
            yield wrong_type("string", value, f"{path}.{name}")
        elif "\n" in value or "\r" in value:
            yield Refusal("Header values must not contain line breaks.", f"{path}.{name}")


def send_at_refusals(moment: Any, path: str) -> Iterator[Refusal]:
    if moment is None:
        return
    if type(moment) is not int:
        yield wrong_type("integer", moment, path)
    elif moment > time.time() + LONGEST_DELAY_SECONDS:
        yield Refusal("Scheduling more than 72 hours in advance is forbidden.", path)


def custom_args_refusals(own: Any, common: Any, path: str) -> Iterator[Refusal]:
    """Values are non-empty strings; those of the request and of the personalization count together."""
    if own is None:
        return
    if not isinstance(own, dict):
        yield wrong_type("object", own, path)
        return
    for name, value in own.items():
        if not isinstance(value, str):
            yield wrong_type("string", value, f"{path}.{name}")
        elif not value:
            yield Refusal("Custom arg values must be at least one character in length.", f"{path}.{name}")
    merged = {**(common if isinstance(common, dict) else {}), **own}
    if _size(merged) > MAX_CUSTOM_ARGS_BYTES:
        yield Refusal("The total custom_args size may not exceed 10000 bytes.", path)


def is_email(email: Any) -> bool:
    """Whether SendGrid would take it for an address."""
    if not isinstance(email, str) or len(email) > 254:
        return False
    if email.isascii():
        return _ASCII_EMAIL.fullmatch(email) is not None
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def _recipients(person: dict[str, Any], path: str) -> Iterator[Refusal]:
    if not isinstance(person.get("to"), list) or not person["to"]:
        yield Refusal(
            "The to array is required for all personalization objects, and must have at least one email object with a"
            " valid email address.",
            f"{path}.to",
        )
    seen: set[str] = set()
    for kind in RECIPIENT_KINDS:
        addresses = person.get(kind)
        if not isinstance(addresses, list):
            if kind != "to":
                yield from check_type(list, addresses, f"{path}.{kind}")
            continue
        for index, address in enumerate(addresses):
            yield from _recipient(address, f"{path}.{kind}.{index}", seen)


def _recipient(address: Any, path: str, seen: set[str]) -> Iterator[Refusal]:
    yield from address_refusals(address, path)
    if not isinstance(address, dict) or not isinstance(address.get("email"), str):
        return
    email, name = address["email"], address.get("name")
    if email.lower() in seen:
        yield Refusal(
            "Each email address in the personalization block should be unique between to, cc, and bcc. We found the"
            f" first duplicate instance of [{email}] in the {path.rsplit('.', 1)[0]} field.",
            f"{path}.email",
        )
    seen.add(email.lower())
    if isinstance(name, str) and (";" in name or "," in name):
        yield Refusal("The name must not contain the characters ; and ,.", f"{path}.name")


def _template_data(person: dict[str, Any], path: str, mail: dict[str, Any]) -> Iterator[Refusal]:
    substitutions = person.get("substitutions")
    yield from check_type(dict, person.get("dynamic_template_data"), f"{path}.dynamic_template_data")
    if substitutions is None:
        return
    path = f"{path}.substitutions"
    if not isinstance(substitutions, dict):
        yield wrong_type("object", substitutions, path)
        return
    if str(mail.get("template_id") or "").startswith("d-"):
        yield Refusal("Substitutions may not be used with dynamic templating", path)
    for name, value in substitutions.items():
        if not isinstance(value, str):
            yield wrong_type("string", value, f"{path}.{name}")
    if _size(substitutions) > MAX_SUBSTITUTION_BYTES:
        yield Refusal("The total substitutions size may not exceed 10000 bytes per personalization.", path)


def _size(pairs: dict[str, Any]) -> int:
    return sum(len(name.encode()) + len(str(value).encode()) for name, value in pairs.items())
