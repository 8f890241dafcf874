"""What Mail Send v3 refuses, in SendGrid's words and with its `field` paths. Pure.

Source: Twilio SendGrid's OpenAPI description of Mail Send v3 and its "Limitations" and "Errors" pages.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from email_validator import EmailNotValidError, validate_email

HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html"
MAX_RECIPIENTS = 1000
MAX_SUBSTITUTION_BYTES = 10_000
MAX_CUSTOM_ARGS_BYTES = 10_000
MAX_BODY_BYTES = 30 * 1024 * 1024
_SEND_AT_SECONDS = 72 * 3600
_RESERVED_HEADERS = {
    "x-sg-id",
    "x-sg-eid",
    "received",
    "dkim-signature",
    "content-type",
    "content-transfer-encoding",
    "to",
    "from",
    "subject",
    "reply-to",
    "cc",
    "bcc",
}
_TOP = {
    "personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id",
    "headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings",
    "tracking_settings",
}  # fmt: skip
_PERSONALIZATION = {
    "from", "to", "cc", "bcc", "subject", "headers", "substitutions", "dynamic_template_data", "custom_args", "send_at",
}  # fmt: skip
# The common shape needs no library; whatever else there is goes through it.
_PLAIN_EMAIL = re.compile(
    r"[a-z0-9][a-z0-9_+-]{0,40}(\.[a-z0-9_+-]{1,40})?@([a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?\.)+[a-z]{2,12}"
)


@dataclass(frozen=True)
class Refusal:
    """One entry of `errors`."""

    message: str
    field: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"message": self.message, "field": self.field, "help": HELP if self.field else None}


def refusals_of(mail: Any) -> list[Refusal]:
    """All errors of a request body; empty when it is accepted."""
    if not isinstance(mail, dict):
        return [Refusal("Bad Request")]
    return list(_refusals(mail))


def is_sandboxed(mail: dict[str, Any]) -> bool:
    """Whether `mail_settings.sandbox_mode.enable` asks for validation only."""
    mode = (mail.get("mail_settings") or {}).get("sandbox_mode") or {}
    return bool(mode.get("enable"))


def _refusals(mail: dict[str, Any]) -> Iterator[Refusal]:
    for name in mail.keys() - _TOP:
        yield Refusal(f"Additional property {name} is not allowed", name)
    people = mail.get("personalizations")
    if not isinstance(people, list) or not people:
        yield Refusal(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
        people = []
    if len(people) > MAX_RECIPIENTS:
        yield Refusal("Too many personalizations. The maximum is 1000.", "personalizations")
    yield from _sender(mail)
    yield from _content(mail)
    yield from _subject(mail, people)
    yield from _common(mail)
    recipients = 0
    for index, person in enumerate(people):
        path = f"personalizations.{index}"
        if not isinstance(person, dict):
            yield Refusal("Invalid type. Expected: object.", path)
            continue
        recipients += sum(
            len(person[kind]) for kind in ("to", "cc", "bcc") if isinstance(person.get(kind), list)
        )
        yield from _person(person, path, mail)
    if recipients > MAX_RECIPIENTS:
        yield Refusal("The total number of recipients must not exceed 1000.", "personalizations")


def _sender(mail: dict[str, Any]) -> Iterator[Refusal]:
    sender = mail.get("from")
    if not isinstance(sender, dict) or not sender.get("email"):
        yield Refusal("The from object must be provided for every email send. It is an object that requires the "
                      "email parameter, but may also contain a name parameter.", "from.email")  # fmt: skip
    elif not _is_email(sender["email"]):
        yield Refusal("The from email does not contain a valid address.", "from.email")
    reply = mail.get("reply_to")
    if reply is not None and (not isinstance(reply, dict) or not _is_email(reply.get("email"))):
        yield Refusal("The reply_to email does not contain a valid address.", "reply_to.email")


def _content(mail: dict[str, Any]) -> Iterator[Refusal]:
    content = mail.get("content")
    if content is None and mail.get("template_id"):
        return
    if not isinstance(content, list) or not content:
        yield Refusal("Unless a valid template_id is provided, the content parameter is required. There must be at "
                      "least one defined content block.", "content")  # fmt: skip
        return
    kinds = []
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str) or not block["type"]:
            yield Refusal("The content type is required.", f"content.{index}.type")
            continue
        kinds.append(block["type"])
        if not isinstance(block.get("value"), str) or not block["value"]:
            yield Refusal(
                "The content value must be a string at least one character in length.",
                f"content.{index}.value",
            )
    if "text/plain" in kinds and kinds[0] != "text/plain":
        yield Refusal("If present, text/plain must be the first content type.", "content")
    if "text/html" in kinds and kinds.index("text/html") > 1:
        yield Refusal("If present, text/html must follow text/plain or be the first.", "content")


def _subject(mail: dict[str, Any], people: list[Any]) -> Iterator[Refusal]:
    if mail.get("subject") or mail.get("template_id"):
        return
    if not people or not all(isinstance(person, dict) and person.get("subject") for person in people):
        yield Refusal("The subject is required. You can get around this requirement if you use a template with a "
                      "subject defined or if every personalization has a subject defined.", "subject")  # fmt: skip


def _common(mail: dict[str, Any]) -> Iterator[Refusal]:
    categories = mail.get("categories") or []
    if not isinstance(categories, list) or len(categories) > 10:
        yield Refusal("There is a limit of 10 categories.", "categories")
    for index, category in enumerate(categories if isinstance(categories, list) else []):
        if not isinstance(category, str) or not category.isascii() or len(category) > 255:
            yield Refusal(
                "Categories must be ASCII strings of at most 255 characters.", f"categories.{index}"
            )
    if mail.get("custom_args") is not None and not isinstance(mail["custom_args"], dict):
        yield Refusal("Invalid type. Expected: object.", "custom_args")
    yield from _headers(mail.get("headers"), "headers")
    yield from _send_at(mail.get("send_at"), "send_at")


def _person(person: dict[str, Any], path: str, mail: dict[str, Any]) -> Iterator[Refusal]:
    for name in person.keys() - _PERSONALIZATION:
        yield Refusal(f"Additional property {name} is not allowed", f"{path}.{name}")
    to = person.get("to")
    if not isinstance(to, list) or not to:
        yield Refusal("The to array is required for all personalization objects, and must have at least one email "
                      "object with a valid email address.", f"{path}.to")  # fmt: skip
    seen: set[str] = set()
    for kind in ("to", "cc", "bcc"):
        for index, address in enumerate(person.get(kind) or []):
            yield from _address(address, f"{path}.{kind}.{index}", seen)
    yield from _headers(person.get("headers"), f"{path}.headers")
    yield from _send_at(person.get("send_at"), f"{path}.send_at")
    yield from _custom_args(person.get("custom_args"), mail.get("custom_args"), f"{path}.custom_args")
    yield from _substitutions(person.get("substitutions"), f"{path}.substitutions")


def _address(address: Any, path: str, seen: set[str]) -> Iterator[Refusal]:
    if not isinstance(address, dict):
        yield Refusal("Invalid type. Expected: object.", path)
        return
    email = address.get("email")
    if not isinstance(email, str) or not _is_email(email):
        yield Refusal("Does not contain a valid address.", f"{path}.email")
        return
    if email.lower() in seen:
        yield Refusal("Each email address in the personalization block should be unique between to, cc, and bcc. "
                      f"We found the first duplicate instance of [{email}] in the {path} field.", path)  # fmt: skip
    seen.add(email.lower())
    name = address.get("name")
    if name is not None and (not isinstance(name, str) or ";" in name or "," in name):
        yield Refusal("The name must be a string without ; and ,.", f"{path}.name")


def _headers(headers: Any, path: str) -> Iterator[Refusal]:
    if headers is None:
        return
    if not isinstance(headers, dict):
        yield Refusal("Invalid type. Expected: object.", path)
        return
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS:
            yield Refusal(f"The header {name} is reserved and may not be set.", f"{path}.{name}")
        if not isinstance(value, str) or "\n" in value or "\r" in value:
            yield Refusal("Header values must be strings without line breaks.", f"{path}.{name}")


def _custom_args(own: Any, common: Any, path: str) -> Iterator[Refusal]:
    if own is None:
        return
    if not isinstance(own, dict):
        yield Refusal("Invalid type. Expected: object.", path)
        return
    for name, value in own.items():
        if not isinstance(value, str) or not value:
            yield Refusal("Custom args must be non-empty strings.", f"{path}.{name}")
    merged = {**(common if isinstance(common, dict) else {}), **own}
    if sum(len(str(k).encode()) + len(str(v).encode()) for k, v in merged.items()) > MAX_CUSTOM_ARGS_BYTES:
        yield Refusal("The custom_args must not exceed 10000 bytes.", path)


def _substitutions(substitutions: Any, path: str) -> Iterator[Refusal]:
    if substitutions is None:
        return
    if not isinstance(substitutions, dict):
        yield Refusal("Invalid type. Expected: object.", path)
        return
    size = 0
    for name, value in substitutions.items():
        if not isinstance(value, str):
            yield Refusal("Substitution values must be strings.", f"{path}.{name}")
            return
        size += len(name.encode()) + len(value.encode())
    if size > MAX_SUBSTITUTION_BYTES:
        yield Refusal("The substitutions must not exceed 10000 bytes per personalization.", path)


def _send_at(moment: Any, path: str) -> Iterator[Refusal]:
    if moment is None:
        return
    if isinstance(moment, bool) or not isinstance(moment, int):
        yield Refusal("Invalid type. Expected: integer.", path)
    elif moment > time.time() + _SEND_AT_SECONDS:
        yield Refusal("Scheduling more than 72 hours in advance is forbidden.", path)


def _is_email(email: Any) -> bool:
    if not isinstance(email, str):
        return False
    if _PLAIN_EMAIL.fullmatch(email):
        return True
    try:
        validate_email(email, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
