"""Whether a template may be saved. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from db.fields import nearest
from db.states import Channel
from tasks.templates.liquid import Part, TemplateProblem, check_source, variables
from tasks.templates.text import html_to_text

_CUSTOM = ["client", "custom"]
_SHOWN_CHARACTERS = 64


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


def warnings_of(variables: Iterable[str], known: Collection[str]) -> list[str]:
    """What is odd about the variables of a template that may be saved all the same: custom fields that are not defined (yet).

    `known` are the keys of those that are.
    """
    keys = {
        names[2] for names in (path.split(".") for path in variables) if names[:2] == _CUSTOM and names[2:]
    }
    return [
        f"client.custom.{key[:_SHOWN_CHARACTERS]}: there is no such custom field{nearest(key, known)}"
        for key in sorted(keys - set(known))
    ]


def _sms_problems(draft: Draft) -> list[TemplateProblem]:
    found: list[TemplateProblem] = []
    for part, source in ((Part.SUBJECT, draft.subject), (Part.HTML, draft.html)):
        if source:
            found.append(TemplateProblem(part, 1, "an SMS has only text, no subject and no html"))
    if not draft.text.strip():
        found.append(TemplateProblem(Part.SMS, 1, "an SMS needs text"))
    return found + check_source(draft.text, Part.SMS)
