"""The Liquid that marketers write: one environment a kind of text, with limits, and checks that name line and reason.

Authors are not trusted: there are no includes, loops and output are bounded, and only the client's own data can be
read. Values are HTML-escaped in the HTML part.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile

from liquid import BoundTemplate, Environment, Mode, RenderContext
from liquid.ast import Node
from liquid.builtin.tags.for_tag import BreakNode, ContinueNode, ForNode
from liquid.builtin.tags.tablerow_tag import TablerowNode
from liquid.exceptions import LiquidError

from tasks.templates.limits import MAX_OUTPUT_BYTES, bounded

CLIENT_FIELDS = ("first_name", "last_name", "email", "phone", "time_zone", "locale", "tags", "custom")
ROOTS = ("client", "unsubscribe_url")
PAGE_FIELDS = ("title", "slug", "url", "description", "year")
MAX_SOURCE_CHARACTERS = 500_000
# Tags that read other templates.
_FORBIDDEN_TAGS = ("include", "render", "extends", "block", "macro", "call", "import")
# `safe` would let a client's own data write HTML.
_FORBIDDEN_FILTERS = ("safe",)
# The library's lexer takes time that grows with the square of these.
_LONG_SPACE = re.compile(r"\{[{%]-?\s{200}")
_OPEN_RAW = re.compile(r"\{%-?\s*(raw|doc)\s*-?%\}")
_CLOSED_RAW = re.compile(r"\{%-?\s*end(?:raw|doc)\s*-?%\}")


class Part(StrEnum):
    """The parts of a template, and a landing page; `HTML` and `PAGE` escape values."""

    SUBJECT = "subject"
    HTML = "html"
    TEXT = "text"
    SMS = "sms"
    PAGE = "page"


@dataclass(frozen=True)
class TemplateProblem:
    """Why a template cannot be saved. `line` counts from 1 within the part."""

    part: Part
    line: int
    reason: str


class _Environment(Environment):
    loop_iteration_limit = 1_000
    output_stream_limit = MAX_OUTPUT_BYTES
    local_namespace_limit = 100_000
    context_depth_limit = 20
    block_nesting_limit = 20


@lru_cache(maxsize=64)
def parse(source: str, part: Part) -> BoundTemplate:
    """Parse one part. What was parsed lately is kept: templates have no state, only their renderings have.

    Raises:
        liquid.exceptions.LiquidError: the source is broken; use `check_source` for a report.
    """
    return _environment(part in (Part.HTML, Part.PAGE)).from_string(source)


def check_source(source: str, part: Part) -> list[TemplateProblem]:
    """Everything that keeps this source from being saved; empty when it is fine."""
    if len(source) > MAX_SOURCE_CHARACTERS:
        return [TemplateProblem(part, 1, f"longer than {MAX_SOURCE_CHARACTERS} characters")]
    found = list(_unreadable(source, part))
    if found:
        return found
    try:
        template = parse(source, part)
        found = [
            *_unknown_variables(template, source, part),
            *_unknown_filters(template, source, part),
            *_stray_interrupts(template, source, part),
        ]
    except LiquidError as error:
        return [TemplateProblem(part, _line_of(error, source), str(error.message))]
    except RecursionError:
        return [TemplateProblem(part, 1, "nested too deeply")]
    return sorted(found, key=lambda problem: problem.line)


def variables(source: str, part: Part = Part.TEXT) -> frozenset[str]:
    """Dotted paths of the client's data that a (valid) source reads, e.g. `client.custom.city`.

    An index or a computed name ends a path: `client.tags[0]` reads `client.tags`.

    Raises:
        liquid.exceptions.LiquidError: the source is broken.
    """
    found = parse(source, part).analyze(include_partials=False).globals
    return frozenset(
        ".".join(str(name) for name in takewhile(_is_name, variable.segments))
        for uses in found.values()
        for variable in uses
    )


@lru_cache
def _environment(autoescape: bool) -> Environment:
    environment = _Environment(autoescape=autoescape, tolerance=Mode.STRICT, strict_filters=True)
    for name in _FORBIDDEN_TAGS:
        environment.tags.pop(name, None)
    for name in _FORBIDDEN_FILTERS:
        environment.filters.pop(name, None)
    environment.filters = {name: bounded(name, function) for name, function in environment.filters.items()}
    return environment


def _unreadable(source: str, part: Part) -> Iterator[TemplateProblem]:
    """What would keep the lexer busy for minutes, found in linear time."""
    space = _LONG_SPACE.search(source)
    if space:
        yield TemplateProblem(
            part, _line_at(source, space.start()), "more than 200 spaces after '{{' or '{%'"
        )
    closed = [match.end() for match in _CLOSED_RAW.finditer(source)]
    start = closed[-1] if closed else 0
    raw = _OPEN_RAW.search(source, start)
    if raw:
        yield TemplateProblem(part, _line_at(source, raw.start()), f"'{raw[1]}' is never closed")
    opened = source.rfind("{{")
    if not raw and opened >= start and source.find("}}", opened) < 0:
        yield TemplateProblem(part, _line_at(source, opened), "expected '}}', found end of file")


def _line_at(source: str, index: int) -> int:
    return source.count("\n", 0, index) + 1


def _is_name(segment: object) -> bool:
    return isinstance(segment, str)


def _line_of(error: LiquidError, source: str) -> int:
    """The line of a syntax error; one without a place is found at the end, as for a block that is never closed."""
    token = error.token
    index = token.start_index if token is not None and 0 <= token.start_index < len(source) else len(source)
    return _line_at(source, index)


def _unknown_variables(template: BoundTemplate, source: str, part: Part) -> Iterator[TemplateProblem]:
    for uses in template.analyze(include_partials=False).globals.values():
        for variable in uses:
            what_is_wrong = _wrong_on_page if part is Part.PAGE else _what_is_wrong
            reason = what_is_wrong(variable.segments)
            if reason:
                yield TemplateProblem(part, _line_at(source, variable.span.index), reason)


def _unknown_filters(template: BoundTemplate, source: str, part: Part) -> Iterator[TemplateProblem]:
    known = tuple(_environment(False).filters)
    for name, spans in template.analyze(include_partials=False).filters.items():
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            yield TemplateProblem(part, _line_at(source, spans[0].index), f"unknown filter '{name}'{hint}")


def _stray_interrupts(template: BoundTemplate, source: str, part: Part) -> Iterator[TemplateProblem]:
    """`break` and `continue` outside of a loop: the library would complain only when it renders them."""
    scope = RenderContext(template)

    def visit(nodes: Iterable[Node]) -> Iterator[Node]:
        for node in nodes:
            if isinstance(node, BreakNode | ContinueNode):
                yield node
            elif not isinstance(node, ForNode | TablerowNode):
                yield from visit(node.children(scope, include_partials=False))

    for node in visit(template.nodes):
        yield TemplateProblem(
            part, _line_at(source, node.token.start_index), f"{node} stands outside of a loop"
        )


def _what_is_wrong(segments: Sequence[object]) -> str | None:
    root = str(segments[0])
    if root not in ROOTS:
        return f"unknown variable '{root}'; {_suggest(root, (*ROOTS, *CLIENT_FIELDS))}"
    if root == "client" and len(segments) == 1:
        return "name a field: client." + ", client.".join(CLIENT_FIELDS)
    if root != "client" or not isinstance(segments[1], str):
        return None
    field = segments[1]
    if field in CLIENT_FIELDS:
        return None
    return f"unknown field 'client.{field}'; {_suggest(field, CLIENT_FIELDS)}"


def _wrong_on_page(segments: Sequence[object]) -> str | None:
    """A page is the same for everybody who looks at it: of a client nothing can be read."""
    path = ".".join(str(each) for each in segments)
    if len(segments) == 2 and segments[0] == "page" and segments[1] in PAGE_FIELDS:
        return None
    return f"unknown variable '{path}'; use page." + ", page.".join(PAGE_FIELDS)


def _suggest(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        path = close[0] if close[0] in ROOTS else f"client.{close[0]}"
        return f"did you mean {path}?"
    return "use client." + ", client.".join(CLIENT_FIELDS) + ".<name> or unsubscribe_url"
