"""Plain text from the HTML of a template. Its Liquid stays as it is, so that the text is personalised alike. Pure."""

import re
from html.parser import HTMLParser

from liquid.exceptions import LiquidError

from tasks.templates.liquid import Part, parse

_TAG = re.compile(r"\{%.*?%\}", re.DOTALL)
_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
# A private-use character around a number stands for a piece of Liquid while the HTML is read.
_MARK = "\ue000"
_MARKED = re.compile(f"{_MARK}(\\d+){_MARK}")
_BLOCKS = {
    "p",
    "div",
    "section",
    "article",
    "table",
    "tr",
    "ul",
    "ol",
    "blockquote",
    "header",
    "footer",
    "center",
}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_HIDDEN = {"script", "style", "head", "title", "template"}


def html_to_text(html: str) -> str:
    """Readable text: paragraphs apart, list items with a dash, links as `text (address)`, images by their alt.

    Liquid that the HTML has in a dropped place (a style, a comment, an attribute) is dropped with it. Where that
    leaves a block without its end, the tags of the template are dropped and its variables stay.
    """
    pieces: list[str] = []

    def keep(match: re.Match[str]) -> str:
        pieces.append(match.group())
        return f"{_MARK}{len(pieces) - 1}{_MARK}"

    reader = _Reader()
    reader.feed(_LIQUID.sub(keep, html.replace(_MARK, "")))
    reader.close()
    text = _MARKED.sub(lambda match: pieces[int(match.group(1))], reader.text())
    try:
        parse(text, Part.TEXT)
    except LiquidError:
        return _TAG.sub("", text)
    return text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._hidden = 0
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        lines = [re.sub(r"[ \t\xa0]+", " ", line).strip() for line in "".join(self._out).split("\n")]
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "body":
            # Ends a head that was not closed, as browsers do.
            self._hidden = 0
        elif tag in _HIDDEN:
            self._hidden += 1
        elif tag == "br":
            self._out.append("\n")
        elif tag == "hr":
            self._out.append("\n\n---\n\n")
        elif tag == "li":
            self._out.append("\n- ")
        elif tag == "a":
            self._links.append((values.get("href") or "", len(self._out)))
        elif tag == "img" and values.get("alt"):
            self._out.append(values["alt"] or "")
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._out.append("\n\n")
        elif tag in ("td", "th"):
            self._out.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag == "a" and self._links:
            self._close_link()
        elif tag in _BLOCKS or tag in _HEADINGS:
            self._out.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._out.append(re.sub(r"\s+", " ", data))

    def _close_link(self) -> None:
        href, start = self._links.pop()
        shown = "".join(self._out[start:]).strip()
        if href and not href.startswith("#") and href.removeprefix("mailto:") != shown:
            self._out.append(f" ({href})" if shown else href)
