"""What each recipient of a request is sent: subject and content with the substitutions in. Pure.

Takes requests that `sendgrid_validation` found valid.
"""

import hashlib
import html
import re
from dataclasses import dataclass
from typing import Any

_LINK = re.compile(r"""<a\s[^>]*?href\s*=\s*["'](https?://[^"'\s]+)""", re.IGNORECASE)


@dataclass(frozen=True)
class Content:
    """Empty where the request has none."""

    subject: str
    text: str
    html: str
    reply_to: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of text and HTML."""
        return hashlib.sha256(f"{self.text}\x00{self.html}".encode()).hexdigest()


def content_of(mail: dict[str, Any]) -> Content:
    """The content that all recipients share, before substitutions."""
    blocks = {block["type"]: block["value"] for block in mail.get("content") or []}
    return Content(
        subject=mail.get("subject") or "",
        text=blocks.get("text/plain", ""),
        html=blocks.get("text/html", ""),
        reply_to=(mail.get("reply_to") or {}).get("email", ""),
    )


def personalized(shared: Content, person: dict[str, Any]) -> Content:
    """The content of one personalization.

    Each tag is replaced wherever it stands, one tag after the other as they come, as plain text. So a value in which
    a later tag stands is changed too: SendGrid promises nothing else, and whoever sends has to choose tags that no
    text contains.
    """
    subject, text, markup, reply_to = (
        person.get("subject") or shared.subject,
        shared.text,
        shared.html,
        shared.reply_to,
    )
    for tag, value in (person.get("substitutions") or {}).items():
        if tag:
            subject = subject.replace(tag, value)
            text = text.replace(tag, value)
            markup = markup.replace(tag, value)
            reply_to = reply_to.replace(tag, value)
    return Content(subject, text, markup, reply_to)


def links_of(markup: str) -> tuple[str, ...]:
    """Addresses that a reader of this HTML can click on, but for the one to unsubscribe by."""
    found = (html.unescape(link) for link in _LINK.findall(markup))
    return tuple(link for link in found if "/unsubscribe/" not in link)
