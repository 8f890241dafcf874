"""Whether a template may be saved. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from db.states import Channel
from tasks.templates.liquid import Part, TemplateProblem, check_source, variables
from tasks.templates.text import html_to_text


@dataclass(frozen=True)
class Draft:
    """The sources of a template as they were given."""

    subject: str
    html: str
    text: str


def complete(channel: Channel, draft: Draft) -> Draft:
    """The draft as it is stored: the text of an email is made from its HTML where it is empty."""
    if channel is Channel.EMAIL and draft.html.strip() and not draft.text.strip():
        return Draft(draft.subject, draft.html, html_to_text(draft.html))
    return draft


def revised(channel: Channel, old: Draft, changes: Mapping[str, str]) -> Draft:
    """`old` with some of its parts changed. A text that was made from the HTML follows it; a written one stays."""
    new = replace(old, **changes)
    text_was_made = complete(channel, replace(old, text="")) == old
    if "html" in changes and "text" not in changes and text_was_made:
        return replace(new, text="")
    return new


def problems_of(channel: Channel, draft: Draft) -> list[TemplateProblem]:
    """Everything that keeps a draft from being saved; empty when it is fine."""
    if channel is Channel.SMS:
        return _sms_problems(draft)
    found: list[TemplateProblem] = []
    if not draft.subject.strip():
        found.append(TemplateProblem(Part.SUBJECT, 1, "an email needs a subject"))
    if not draft.html.strip() and not draft.text.strip():
        found.append(TemplateProblem(Part.HTML, 1, "an email needs html or text"))
    parts = ((Part.SUBJECT, draft.subject), (Part.HTML, draft.html), (Part.TEXT, draft.text))
    return found + [problem for part, source in parts for problem in check_source(source, part)]


def variables_of(draft: Draft) -> list[str]:
    """The client's data a (valid) draft reads."""
    parts = ((Part.SUBJECT, draft.subject), (Part.HTML, draft.html), (Part.TEXT, draft.text))
    return sorted({path for part, source in parts for path in variables(source, part)})


def _sms_problems(draft: Draft) -> list[TemplateProblem]:
    found: list[TemplateProblem] = []
    for part, source in ((Part.SUBJECT, draft.subject), (Part.HTML, draft.html)):
        if source:
            found.append(TemplateProblem(part, 1, "an SMS has only text, no subject and no html"))
    if not draft.text.strip():
        found.append(TemplateProblem(Part.SMS, 1, "an SMS needs text"))
    return found + check_source(draft.text, Part.SMS)
