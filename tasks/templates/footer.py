"""Marketing email without a way out is spam: a template that has no unsubscribe link gets a footer with one. Pure."""

import re

from tasks.templates.liquid import Part, variables

_HTML = (
    '<p style="font-size:12px;color:#666">You receive this because you are a client of ours. '
    '<a href="{{ unsubscribe_url }}">Unsubscribe</a></p>'
)
_END_OF_BODY = re.compile(r"</body\s*>", re.IGNORECASE)
_TEXT = "\n\n--\nUnsubscribe: {{ unsubscribe_url }}\n"


def with_unsubscribe_link(html: str, text: str) -> tuple[str, str]:
    """HTML and text, each with a link; the footer goes before `</body>` where there is one."""
    if html and not has_unsubscribe_link(html, Part.HTML):
        ends = [match.start() for match in _END_OF_BODY.finditer(html)]
        end = ends[-1] if ends else len(html)
        html = html[:end] + _HTML + html[end:]
    if text and not has_unsubscribe_link(text, Part.TEXT):
        text += _TEXT
    return html, text


def has_unsubscribe_link(source: str, part: Part) -> bool:
    """Whether a (valid) source uses `unsubscribe_url`."""
    return "unsubscribe_url" in variables(source, part)
