"""What a page says: Liquid, then Markdown, then only the HTML that can do no harm. Pure.

Authors are not trusted, nor is what is stored: HTML is sanitised when it is saved, and once more when it is shown.
"""

from collections.abc import Mapping
from typing import Final

import nh3
from markdown_it import MarkdownIt

from db.states import PageFormat
from tasks.templates.liquid import Part, TemplateProblem, check_source
from tasks.templates.personalization import RenderFailed, render_whole

MAX_SOURCE: Final = 200_000
_TAGS: Final = frozenset(
    (
        *(
            "a",
            "abbr",
            "article",
            "aside",
            "b",
            "blockquote",
            "br",
            "caption",
            "cite",
            "code",
            "col",
            "colgroup",
        ),
        *(
            "dd",
            "del",
            "details",
            "div",
            "dl",
            "dt",
            "em",
            "figcaption",
            "figure",
            "footer",
            "h1",
            "h2",
            "h3",
        ),
        *(
            "h4",
            "h5",
            "h6",
            "header",
            "hr",
            "i",
            "img",
            "ins",
            "kbd",
            "li",
            "main",
            "mark",
            "nav",
            "ol",
            "p",
            "pre",
        ),
        *(
            "q",
            "s",
            "samp",
            "section",
            "small",
            "span",
            "strong",
            "sub",
            "summary",
            "sup",
            "table",
            "tbody",
            "td",
        ),
        *("tfoot", "th", "thead", "time", "tr", "u", "ul"),
    )
)
_ATTRIBUTES: Final[Mapping[str, set[str]]] = {
    "*": {"class", "lang", "dir", "title"},
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan", "scope"},
    "time": {"datetime"},
}
_SCHEMES: Final = {"http", "https", "mailto", "tel"}
# Their text is no text of the page.
_WITH_CONTENT: Final = {
    "script",
    "style",
    "title",
    "textarea",
    "noscript",
    "template",
    "svg",
    "math",
    "iframe",
    "object",
}
_markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def problems_of(source: str) -> list[TemplateProblem]:
    """What keeps a source from being saved; empty when it is fine."""
    if len(source) > MAX_SOURCE:
        return [TemplateProblem(Part.PAGE, 1, f"longer than {MAX_SOURCE} characters")]
    return check_source(source, Part.PAGE)


def render_body(source: str, kind: PageFormat, values: Mapping[str, object]) -> str | RenderFailed:
    """The body of a page as sanitised HTML; `values` are those of `page` in the template."""
    text = render_whole(source, Part.PAGE, {"page": values})
    if isinstance(text, RenderFailed):
        return text
    return sanitise(_markdown.render(text) if kind is PageFormat.MARKDOWN else text)


def sanitise(html: str) -> str:
    """Only tags and attributes that show text and pictures. Nothing runs, embeds, posts or overlays."""
    return nh3.clean(
        html,
        tags=set(_TAGS),
        clean_content_tags=set(_WITH_CONTENT),
        attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
        url_schemes=set(_SCHEMES),
        link_rel="noopener noreferrer",
        strip_comments=True,
    )
