"""What Mail Send v3 refuses, in SendGrid's words and with its `field` paths. Pure, and total: any JSON gets an answer.

Source: Twilio SendGrid's OpenAPI description of Mail Send v3, and its pages "Errors" and "Limitations". One departure
from the description: it types the root `custom_args` as a string, the service wants an object.
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from sandbox.refusals import Refusal, check_properties, check_type, wrong_type
from sandbox.sendgrid_recipients import (
    RECIPIENT_KINDS,
    address_refusals,
    custom_args_refusals,
    header_refusals,
    refusals_of_personalization,
    send_at_refusals,
    sender_refusals,
    subject_refusals,
)

MAX_RECIPIENTS = 1000
MAX_BODY_BYTES = 30 * 1024 * 1024
MAX_CATEGORIES = 10
_KNOWN = (
    "personalizations", "from", "reply_to", "reply_to_list", "subject", "content", "attachments", "template_id",
    "headers", "categories", "custom_args", "send_at", "batch_id", "asm", "ip_pool_name", "mail_settings",
    "tracking_settings",
)  # fmt: skip
_MAIL_SETTINGS: dict[str, dict[str, type]] = {
    "bypass_list_management": {"enable": bool},
    "bypass_spam_management": {"enable": bool},
    "bypass_bounce_management": {"enable": bool},
    "bypass_unsubscribe_management": {"enable": bool},
    "footer": {"enable": bool, "text": str, "html": str},
    "sandbox_mode": {"enable": bool},
}
_TRACKING_SETTINGS: dict[str, dict[str, type]] = {
    "click_tracking": {"enable": bool, "enable_text": bool},
    "open_tracking": {"enable": bool, "substitution_tag": str},
    "subscription_tracking": {"enable": bool, "text": str, "html": str, "substitution_tag": str},
    "ganalytics": {
        "enable": bool, "utm_source": str, "utm_medium": str, "utm_term": str, "utm_content": str, "utm_campaign": str,
    },
}  # fmt: skip


def refusals_of(mail: Any) -> list[Refusal]:
    """All errors of a request body, of all its personalizations; empty when it is accepted."""
    if not isinstance(mail, dict):
        return [Refusal("Bad Request")]
    return [
        *check_properties(mail, _KNOWN),
        *_personalizations(mail),
        *sender_refusals(mail.get("from"), "from"),
        *_reply_to(mail),
        *_subject(mail),
        *_content(mail),
        *_attachments(mail.get("attachments")),
        *_categories(mail.get("categories")),
        *header_refusals(mail.get("headers"), "headers"),
        *custom_args_refusals(mail.get("custom_args"), None, "custom_args"),
        *send_at_refusals(mail.get("send_at"), "send_at"),
        *_asm(mail.get("asm")),
        *_names(mail),
        *_settings(mail.get("mail_settings"), _MAIL_SETTINGS, "mail_settings"),
        *_settings(mail.get("tracking_settings"), _TRACKING_SETTINGS, "tracking_settings"),
    ]


def is_sandboxed(mail: dict[str, Any]) -> bool:
    """Whether `mail_settings.sandbox_mode.enable` of a valid request asks for validation only."""
    return is_enabled(mail, "mail_settings", "sandbox_mode", default=False)


def is_enabled(mail: dict[str, Any], group: str, setting: str, *, default: bool) -> bool:
    """Whether a setting of a valid request is on; `default` when the request leaves it to the account."""
    enabled = ((mail.get(group) or {}).get(setting) or {}).get("enable")
    return default if enabled is None else bool(enabled)


def _personalizations(mail: dict[str, Any]) -> Iterator[Refusal]:
    people = mail.get("personalizations")
    if people is not None and not isinstance(people, list):
        yield wrong_type("array", people, "personalizations")
        return
    if not people:
        yield Refusal(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
        )
        return
    if len(people) > MAX_RECIPIENTS:
        yield Refusal(
            "The personalization block is limited to 1000 personalizations per API request. You have provided"
            f" {len(people)} personalizations. Please consider splitting this into multiple requests and resending"
            " your request.",
            "personalizations",
        )
        return
    if sum(map(_recipient_count, people)) > MAX_RECIPIENTS:
        yield Refusal(
            "There is a limit of 1000 total recipients (to + cc + bcc) per request.", "personalizations"
        )
    for index, person in enumerate(people):
        yield from refusals_of_personalization(person, f"personalizations.{index}", mail)


def _recipient_count(person: Any) -> int:
    if not isinstance(person, dict):
        return 0
    return sum(len(person[kind]) for kind in RECIPIENT_KINDS if isinstance(person.get(kind), list))


def _reply_to(mail: dict[str, Any]) -> Iterator[Refusal]:
    one, several = mail.get("reply_to"), mail.get("reply_to_list")
    if one is not None:
        yield from address_refusals(one, "reply_to")
    if several is None:
        return
    if one is not None:
        yield Refusal("Use either reply_to or reply_to_list, not both.", "reply_to_list")
    if not isinstance(several, list):
        yield wrong_type("array", several, "reply_to_list")
        return
    if len(several) > MAX_RECIPIENTS:
        yield Refusal("There is a limit of 1000 addresses.", "reply_to_list")
    for index, address in enumerate(several):
        yield from address_refusals(address, f"reply_to_list.{index}")
        if address in several[:index]:
            yield Refusal("Each address should be listed once.", f"reply_to_list.{index}.email")


def _subject(mail: dict[str, Any]) -> Iterator[Refusal]:
    subject = mail.get("subject")
    if subject or (subject is not None and not isinstance(subject, str)):
        yield from subject_refusals(subject, "subject")
        return
    people = mail.get("personalizations")
    own = isinstance(people, list) and all(isinstance(p, dict) and p.get("subject") for p in people)
    if not mail.get("template_id") and not (own and people):
        yield Refusal(
            "The subject is required. You can get around this requirement if you use a template with a subject defined"
            " or if every personalization has a subject defined.",
            "subject",
        )


def _content(mail: dict[str, Any]) -> Iterator[Refusal]:
    content = mail.get("content")
    if content is None and mail.get("template_id"):
        return
    if content is not None and not isinstance(content, list):
        yield wrong_type("array", content, "content")
        return
    if not content:
        yield Refusal(
            "Unless a valid template_id is provided, the content parameter is required. There must be at least one"
            " defined content block. We typically suggest both text/plain and text/html blocks are included, but only"
            " one block is required.",
            "content",
        )
        return
    for index, block in enumerate(content):
        yield from _block(block, f"content.{index}")
    yield from _order_of_blocks([block.get("type") for block in content if isinstance(block, dict)])


def _block(block: Any, path: str) -> Iterator[Refusal]:
    if not isinstance(block, dict):
        yield wrong_type("object", block, path)
        return
    yield from check_properties(block, ("type", "value"), f"{path}.")
    kind, value = block.get("type"), block.get("value")
    if not isinstance(kind, str) or not kind:
        yield Refusal("The content type must be a string at least one character in length.", f"{path}.type")
    elif any(character in kind for character in ";\r\n"):
        yield Refusal("The content type cannot contain ';', or CRLF characters.", f"{path}.type")
    if not isinstance(value, str) or not value:
        yield Refusal("The content value must be a string at least one character in length.", f"{path}.value")


def _order_of_blocks(kinds: list[Any]) -> Iterator[Refusal]:
    if any(kinds.count(kind) > 1 for kind in ("text/plain", "text/html")):
        yield Refusal("Each content type may be used once.", "content")
        return
    known = [kind for kind in ("text/plain", "text/html") if kind in kinds]
    if kinds[: len(known)] != known:
        yield Refusal(
            "If present, text/plain and text/html may only be provided once, in this order, before other types.",
            "content",
        )


def _attachments(attachments: Any) -> Iterator[Refusal]:
    yield from check_type(list, attachments, "attachments")
    for index, attachment in enumerate(attachments if isinstance(attachments, list) else []):
        path = f"attachments.{index}"
        if not isinstance(attachment, dict):
            yield wrong_type("object", attachment, path)
            continue
        known = ("content", "type", "filename", "disposition", "content_id")
        yield from check_properties(attachment, known, f"{path}.")
        if not _is_base64(attachment.get("content")):
            yield Refusal("The attachment content must be base64 encoded.", f"{path}.content")
        if not isinstance(attachment.get("filename"), str) or not attachment["filename"]:
            yield Refusal(
                "The filename must be a string at least one character in length.", f"{path}.filename"
            )
        for name in ("type", "content_id"):
            yield from check_type(str, attachment.get(name), f"{path}.{name}")
        if attachment.get("type") == "":
            yield Refusal("The type must be a string at least one character in length.", f"{path}.type")
        if attachment.get("disposition") not in (None, "inline", "attachment"):
            yield Refusal('The disposition can be either "inline" or "attachment".', f"{path}.disposition")


def _is_base64(content: Any) -> bool:
    if not isinstance(content, str) or not content:
        return False
    try:
        base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _categories(categories: Any) -> Iterator[Refusal]:
    if categories is None:
        return
    if not isinstance(categories, list):
        yield wrong_type("array", categories, "categories")
        return
    if len(categories) > MAX_CATEGORIES:
        yield Refusal("You cannot have more than 10 categories associated with one email.", "categories")
    for index, category in enumerate(categories):
        path = f"categories.{index}"
        if not isinstance(category, str):
            yield wrong_type("string", category, path)
        elif not category.isascii():
            yield Refusal("Category names must be ASCII.", path)
        elif len(category) > 255:
            yield Refusal("The category name cannot exceed 255 characters.", path)
        if category in categories[:index]:
            yield Refusal("Each category should be unique.", path)


def _asm(asm: Any) -> Iterator[Refusal]:
    if asm is None:
        return
    if not isinstance(asm, dict):
        yield wrong_type("object", asm, "asm")
        return
    yield from check_properties(asm, ("group_id", "groups_to_display"), "asm.")
    if type(asm.get("group_id")) is not int:
        yield Refusal("The group_id is required and must be an integer.", "asm.group_id")
    groups = asm.get("groups_to_display")
    yield from check_type(list, groups, "asm.groups_to_display")
    if isinstance(groups, list):
        if len(groups) > 25:
            yield Refusal("You can only specify up to 25 unsubscribe groups.", "asm.groups_to_display")
        for index, group in enumerate(groups):
            if type(group) is not int:
                yield wrong_type("integer", group, f"asm.groups_to_display.{index}")


def _names(mail: dict[str, Any]) -> Iterator[Refusal]:
    for name in ("template_id", "batch_id", "ip_pool_name"):
        yield from check_type(str, mail.get(name), name)
    pool = mail.get("ip_pool_name")
    if isinstance(pool, str) and not 2 <= len(pool) <= 64:
        yield Refusal("The ip_pool_name must be between 2 and 64 characters long.", "ip_pool_name")


def _settings(settings: Any, known: dict[str, dict[str, type]], path: str) -> Iterator[Refusal]:
    yield from check_type(dict, settings, path)
    if not isinstance(settings, dict):
        return
    yield from check_properties(settings, tuple(known), f"{path}.")
    for name, fields in known.items():
        setting = settings.get(name)
        yield from check_type(dict, setting, f"{path}.{name}")
        if isinstance(setting, dict):
            yield from check_properties(setting, tuple(fields), f"{path}.{name}.")
            for field, expected in fields.items():
                yield from check_type(expected, setting.get(field), f"{path}.{name}.{field}")
