"""The body of a Mail Send request: up to 1,000 personalizations around one constant content. Pure.

The envelope is made with the SendGrid SDK's helpers; the personalizations are plain dicts, which are ten times as
fast. Limits: SendGrid's "Mail Send" reference.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sendgrid.helpers.mail import (
    Asm,
    Category,
    Content,
    From,
    GroupId,
    Mail,
    MimeType,
    ReplyTo,
)

from tasks.templates.personalization import CompiledEmail, FilledEmail

MAX_PERSONALIZATIONS = 1000
MAX_BODY_BYTES = 30 * 1024 * 1024
MAX_CATEGORIES = 10
MAX_CATEGORY_CHARACTERS = 255
MESSAGE_ARG = "ics_message"
AnyEmail = CompiledEmail | FilledEmail
"""What a request carries once: for all of its recipients, or as a whole for the only one."""
_NOT_IN_NAMES = re.compile(r"[;,<>\"\s\x00-\x1f\x7f]+")


class PayloadInvalid(Exception):
    """The request would be refused: the message says which limit it breaks."""


@dataclass(frozen=True)
class Envelope:
    """What all recipients of a request share. Tracking is the account's own setting unless it is given here."""

    from_email: str
    from_name: str = ""
    reply_to: str = ""
    categories: tuple[str, ...] = ()
    unsubscribe_mailto: str = ""
    open_tracking: bool | None = None
    click_tracking: bool | None = None
    asm_group_id: int | None = None
    sandbox_mode: bool = False


@dataclass(frozen=True)
class Personalization:
    """What one recipient gets: the values of the tags, and the reference our events come back with."""

    email: str
    name: str
    reference: str
    substitutions: Mapping[str, str]
    unsubscribe_url: str


@dataclass(frozen=True)
class MailSize:
    """Bytes of a request: its body has `constant` and the sum of the `recipients` in it."""

    constant: int
    recipients: tuple[int, ...]


def measure_mail(envelope: Envelope, email: AnyEmail, recipients: Sequence[Personalization]) -> MailSize:
    """How many bytes `build_mail` would make of these recipients, together or in part; any number of them.

    Raises:
        PayloadInvalid: no subject or content, or categories that SendGrid does not take.
    """
    empty = orjson.dumps(_constant_part(envelope, email) | {"personalizations": []})
    sizes = (len(orjson.dumps(_personalization(envelope, recipient))) for recipient in recipients)
    # A comma stands between two of them: each one brings its own, and the first finds its place in the constant.
    return MailSize(len(empty) - 1, tuple(size + 1 for size in sizes))


def build_mail(envelope: Envelope, email: AnyEmail, recipients: Sequence[Personalization]) -> bytes:
    """The JSON body.

    Raises:
        PayloadInvalid: nobody to send to, more than 1,000 recipients, over 30 MB, no subject or content, or
            categories that SendGrid does not take.
    """
    if not 1 <= len(recipients) <= MAX_PERSONALIZATIONS:
        raise PayloadInvalid(f"a request takes 1 to {MAX_PERSONALIZATIONS} recipients, not {len(recipients)}")
    body = _constant_part(envelope, email)
    body["personalizations"] = [_personalization(envelope, recipient) for recipient in recipients]
    encoded = orjson.dumps(body)
    if len(encoded) >= MAX_BODY_BYTES:
        raise PayloadInvalid(f"the request has {len(encoded):,} bytes; SendGrid takes less than 30 MB")
    return encoded


def clean_name(name: str) -> str:
    """A display name without what SendGrid refuses in names (`;` and `,`) or what could forge a header."""
    return _NOT_IN_NAMES.sub(" ", name).strip()[:200]


def _constant_part(envelope: Envelope, email: AnyEmail) -> dict[str, Any]:
    _check_constants(envelope, email)
    mail = Mail(
        from_email=From(envelope.from_email, clean_name(envelope.from_name) or None),
        subject=email.subject,
    )
    # text/plain before text/html: SendGrid refuses the other order.
    if email.text:
        mail.add_content(Content(MimeType.text, email.text))
    if email.html:
        mail.add_content(Content(MimeType.html, email.html))
    if envelope.reply_to:
        mail.reply_to = ReplyTo(envelope.reply_to)
    for category in envelope.categories:
        mail.add_category(Category(category))
    if envelope.asm_group_id is not None:
        mail.asm = Asm(GroupId(envelope.asm_group_id))
    body: dict[str, Any] = mail.get()
    return body | _settings(envelope)


def _check_constants(envelope: Envelope, email: AnyEmail) -> None:
    if not email.subject.strip():
        raise PayloadInvalid("the subject is empty")
    if not (email.html or email.text):
        raise PayloadInvalid("there is neither HTML nor text")
    if len(envelope.categories) > MAX_CATEGORIES:
        raise PayloadInvalid(f"a request takes {MAX_CATEGORIES} categories, not {len(envelope.categories)}")
    for category in envelope.categories:
        if not category.isascii() or not 0 < len(category) <= MAX_CATEGORY_CHARACTERS:
            raise PayloadInvalid(f"category {category!r}: 1 to {MAX_CATEGORY_CHARACTERS} ASCII characters")


def _settings(envelope: Envelope) -> dict[str, Any]:
    tracking: dict[str, Any] = {}
    if envelope.open_tracking is not None:
        tracking["open_tracking"] = {"enable": envelope.open_tracking}
    if envelope.click_tracking is not None:
        tracking["click_tracking"] = {
            "enable": envelope.click_tracking,
            "enable_text": envelope.click_tracking,
        }
    settings: dict[str, Any] = {"tracking_settings": tracking} if tracking else {}
    if envelope.sandbox_mode:
        settings["mail_settings"] = {"sandbox_mode": {"enable": True}}
    return settings


def _personalization(envelope: Envelope, recipient: Personalization) -> dict[str, Any]:
    to = {"email": recipient.email}
    name = clean_name(recipient.name)
    if name:
        to["name"] = name
    personalization: dict[str, Any] = {
        "to": [to],
        "custom_args": {MESSAGE_ARG: recipient.reference},
    }
    if recipient.unsubscribe_url:
        personalization["headers"] = _unsubscribe_headers(envelope, recipient.unsubscribe_url)
    if recipient.substitutions:
        personalization["substitutions"] = recipient.substitutions
    return personalization


def _unsubscribe_headers(envelope: Envelope, url: str) -> dict[str, str]:
    """One-click unsubscribe (RFC 8058): the mail client posts to the URL, without a question."""
    ways = [f"<{url}>"]
    if envelope.unsubscribe_mailto:
        ways.append(f"<mailto:{envelope.unsubscribe_mailto}?subject=unsubscribe>")
    return {"List-Unsubscribe": ", ".join(ways), "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}
