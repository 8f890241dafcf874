"""What a client would get. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.templates.context import missing_variables
from tasks.templates.liquid import Part, variables
from tasks.templates.personalization import RenderFailed, render_whole
from tasks.templates.sms import SmsSize, measure_sms


@dataclass(frozen=True)
class EmailPreview:
    subject: str
    html: str
    text: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class SmsPreview:
    text: str
    size: SmsSize
    missing: tuple[str, ...]


def preview_email(
    subject: str, html: str, text: str, context: Mapping[str, Any]
) -> EmailPreview | RenderFailed:
    """The email for one context, and which of its variables are empty there."""
    parts = {Part.SUBJECT: subject, Part.HTML: html, Part.TEXT: text}
    rendered = {part: render_whole(source, part, context) for part, source in parts.items()}
    done: list[str] = []
    for result in rendered.values():
        if isinstance(result, RenderFailed):
            return result
        done.append(result)
    used: frozenset[str] = frozenset().union(*(variables(source, part) for part, source in parts.items()))
    return EmailPreview(done[0], done[1], done[2], tuple(sorted(missing_variables(used, context))))


def preview_sms(text: str, context: Mapping[str, Any]) -> SmsPreview | RenderFailed:
    """The SMS for one context, its encoding and parts, and which of its variables are empty."""
    result = render_whole(text, Part.SMS, context)
    if isinstance(result, RenderFailed):
        return result
    missing = missing_variables(variables(text, Part.SMS), context)
    return SmsPreview(result, measure_sms(result), tuple(sorted(missing)))
