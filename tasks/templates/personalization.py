"""One request, a thousand different messages: templates split into constant text and what differs by recipient.

SendGrid replaces substitution tags in subject and content, recipient by recipient. Each run of Liquid nodes becomes
one tag, whose value is rendered here; so the whole of Liquid works, and the constant text travels once a request.

The tags carry a random nonce that stands nowhere in the constant text. A value that contains the nonce (nobody can
know it) is refused, so that no replacement can happen inside another.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Any, NamedTuple

from liquid import RenderContext
from liquid.exceptions import LiquidError

from tasks.templates.limits import output_buffer
from tasks.templates.liquid import Part, parse, variables
from tasks.templates.nodes import CompiledPart, compile_part, one_line

MAX_SUBSTITUTION_BYTES = 10_000
MAX_SUBJECT_CHARACTERS = 998
"""RFC 5322, 2.1.1: a line of a message; SendGrid refuses longer subjects."""


class RenderProblem(StrEnum):
    """The kinds of `RenderFailed`. Unlike its reason they say nothing of the client's data."""

    TEMPLATE_ERROR = "template_error"
    TAG_IN_VALUE = "tag_in_value"
    SUBJECT_TOO_LONG = "subject_too_long"
    SUBJECT_EMPTY = "subject_empty"


@dataclass(frozen=True)
class RenderFailed:
    """This recipient's message cannot be made: a limit or a run-time error of Liquid."""

    reason: str
    problem: RenderProblem = RenderProblem.TEMPLATE_ERROR


@dataclass(frozen=True)
class TooLarge:
    """The values of this recipient are more than SendGrid takes (10,000 bytes). They still fit into a request of its
    own, without tags: see `CompiledEmail.filled`."""

    size_bytes: int
    values: Mapping[str, str]


class FilledEmail(NamedTuple):
    """An email as one recipient gets it: nothing in it is replaced any more."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True)
class CompiledEmail:
    """An email whose constant parts are sent once, and whose values are rendered for each recipient."""

    parts: tuple[CompiledPart, ...]
    nonce: str
    variables: frozenset[str]

    @property
    def subject(self) -> str:
        return self._part(Part.SUBJECT).constant

    @property
    def html(self) -> str:
        return self._part(Part.HTML).constant

    @property
    def text(self) -> str:
        return self._part(Part.TEXT).constant

    def render(self, context: Mapping[str, Any]) -> dict[str, str] | RenderFailed | TooLarge:
        """The substitutions of one recipient: tag -> value. A failure concerns this recipient only."""
        values: dict[str, str] = {}
        try:
            for part in self.parts:
                part.render_into(values, context)
            # One look at all values together: this runs a million times a campaign.
            joined = "".join(values.values())
            size = len(joined.encode()) + self._tag_characters
        except Exception as error:
            return _failure(error)
        if self.nonce in joined:
            return RenderFailed("a value contains a substitution tag", RenderProblem.TAG_IN_VALUE)
        subject = self.parts[0]
        wrong = _wrong_with_subject(subject.filled(values)) if subject.groups else None
        if wrong is not None:
            return wrong
        return TooLarge(size, values) if size > MAX_SUBSTITUTION_BYTES else values

    @cached_property
    def _tag_characters(self) -> int:
        return sum(len(group.tag) for part in self.parts for group in part.groups)

    def filled(self, values: Mapping[str, str]) -> FilledEmail:
        """What one recipient gets, with `values` in place of the tags."""
        parts = (self._part(part).filled(values) for part in (Part.SUBJECT, Part.HTML, Part.TEXT))
        return FilledEmail(*parts)

    def _part(self, wanted: Part) -> CompiledPart:
        return next(part for part in self.parts if part.part is wanted)


def compile_email(subject: str, html: str, text: str) -> CompiledEmail:
    """Compile the (checked) sources of an email.

    Raises:
        liquid.exceptions.LiquidError: a source is broken.
    """
    sources = {Part.SUBJECT: subject, Part.HTML: html, Part.TEXT: text}
    nonce = secrets.token_hex(5)
    while any(nonce in source for source in sources.values()):
        nonce = secrets.token_hex(5)
    numbers = count()

    def next_tag() -> str:
        # Ends with a sign that is in no number, so that tag 1 is no part of tag 10.
        return f"-{nonce}.{next(numbers)}-"

    parts = tuple(compile_part(part, source, next_tag) for part, source in sources.items())
    used = frozenset().union(*(variables(source, part) for part, source in sources.items()))
    return CompiledEmail(parts, nonce, used)


def render_whole(source: str, part: Part, context: Mapping[str, Any]) -> str | RenderFailed:
    """Render one part as a whole, as for a preview or an SMS. A subject comes as one line."""
    try:
        template = parse(source, part)
        buffer = output_buffer()
        template.render_with_context(
            RenderContext(template, globals=template.make_globals(dict(context))), buffer
        )
        text = buffer.getvalue()
        text.encode()
    except Exception as error:
        return _failure(error)
    return one_line(text) if part is Part.SUBJECT else text


def _failure(error: Exception) -> RenderFailed:
    """Whatever a template does with one client's data must not stop the messages of the others."""
    what = error.message if isinstance(error, LiquidError) else error
    return RenderFailed(f"{type(error).__name__}: {what}"[:150])


def _wrong_with_subject(subject: str) -> RenderFailed | None:
    if len(subject) > MAX_SUBJECT_CHARACTERS:
        reason = f"the subject has {len(subject)} characters; {MAX_SUBJECT_CHARACTERS} are allowed"
        return RenderFailed(reason, RenderProblem.SUBJECT_TOO_LONG)
    return None if subject.strip() else RenderFailed("the subject is empty", RenderProblem.SUBJECT_EMPTY)
