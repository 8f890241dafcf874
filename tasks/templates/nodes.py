"""A part of an email, split into constant text and the Liquid nodes that become substitution tags. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from liquid import BoundTemplate, RenderContext, escape
from liquid.ast import Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import (
    FilteredExpression,
    Path,
    PositionalArgument,
    StringLiteral,
)
from liquid.builtin.expressions.filtered import Filter
from liquid.builtin.output import OutputNode

from tasks.templates.limits import output_buffer
from tasks.templates.liquid import Part, parse

_HTML_SIGNS = re.compile("[&<>'\"]")
_ONE_LINE = str.maketrans("\r\n", "  ")
# The library gives these names a meaning of their own when a value lacks them.
_PROPERTIES = frozenset({"size", "first", "last"})
_MISSING = object()


@dataclass(frozen=True)
class PlainOutput:
    """`{{ client.x }}` or `{{ client.x | default: "y" }}`: most of what marketers write, read without the library.

    The value is exactly what the library renders; where that is not plain to see, it is left to the library.
    """

    path: tuple[str, ...]
    default: str | None
    escaped: bool

    def value(self, context: Mapping[str, Any]) -> str | None:
        """The text, or None when the library has to say."""
        found: Any = context
        for name in self.path:
            if type(found) is not dict:
                return None
            found = found.get(name, _MISSING)
        if found is None or (found is _MISSING and self.path[0] in context):
            return self.default or ""
        if type(found) is int:
            return str(found)
        if type(found) is not str:
            return None
        if not found:
            return self.default or ""
        return str(escape(found)) if self.escaped and _HTML_SIGNS.search(found) else found


@dataclass(frozen=True)
class TaggedNodes:
    """A run of Liquid nodes without text between them, the tag that stands for it, and the fast way if there is one."""

    tag: str
    nodes: tuple[Node, ...]
    plain: PlainOutput | None


@dataclass(frozen=True)
class CompiledPart:
    """`pieces` is the text in order, tags as pieces of their own; `groups` renders the value of each tag once."""

    part: Part
    pieces: tuple[str, ...]
    template: BoundTemplate
    groups: tuple[TaggedNodes, ...]
    constant_bytes: int

    @property
    def constant(self) -> str:
        return "".join(self.pieces)

    def filled(self, values: Mapping[str, str]) -> str:
        """The text with values in place of tags, as SendGrid makes it."""
        return "".join([values.get(piece, piece) for piece in self.pieces])

    def render_into(self, values: dict[str, str], context: Mapping[str, Any]) -> None:
        """Add the value of each tag for one recipient.

        Raises:
            LiquidError: a limit or a run-time error of the template.
        """
        library: _Library | None = None
        is_subject = self.part is Part.SUBJECT
        for group in self.groups:
            text = group.plain.value(context) if group.plain else None
            if text is None:
                # State (assign, cycle, ...) lives from node to node, in one scope for the whole part.
                library = library or _Library(self, context)
                text = library.text_of(group.nodes)
            values[group.tag] = one_line(text) if is_subject else text


class _Library:
    """Renders nodes with python-liquid, as `BoundTemplate.render` does, but keeps the texts apart."""

    def __init__(self, compiled: CompiledPart, context: Mapping[str, Any]) -> None:
        template = compiled.template
        self._scope = RenderContext(template, globals=template.make_globals(dict(context)))
        self._scope.scope.push(template.make_partial_namespace(False, {}))
        self._buffer = output_buffer()
        # The limit is on the whole part: the text between the nodes counts too.
        self._buffer.size = compiled.constant_bytes

    def text_of(self, nodes: tuple[Node, ...]) -> str:
        self._buffer.seek(0)
        self._buffer.truncate()
        for node in nodes:
            node.render(self._scope, self._buffer)
        return self._buffer.getvalue()


def one_line(text: str) -> str:
    """Without line breaks, each replaced by a space: a subject must not start a header of its own."""
    return text.translate(_ONE_LINE) if "\n" in text or "\r" in text else text


def compile_part(part: Part, source: str, next_tag: Callable[[], str]) -> CompiledPart:
    """Split a source at its top-level nodes. Equal nodes that depend on nothing but the client share a tag.

    Raises:
        liquid.exceptions.LiquidError: the source is broken.
    """
    template = parse(source, part)
    assigned = frozenset(template.analyze(include_partials=False).locals)
    pieces: list[str] = []
    groups: dict[PlainOutput | int, TaggedNodes] = {}
    for run in _runs(template.nodes):
        if isinstance(run, str):
            pieces.append(one_line(run) if part is Part.SUBJECT else run)
            continue
        plain = _plain_output(run, assigned, escaped=part is Part.HTML)
        group = groups.setdefault(plain or len(pieces), TaggedNodes(next_tag(), run, plain))
        pieces.append(group.tag)
    tags = {group.tag for group in groups.values()}
    constant_bytes = sum(len(piece.encode("utf-8", "replace")) for piece in pieces if piece not in tags)
    return CompiledPart(part, tuple(pieces), template, tuple(groups.values()), constant_bytes)


def _runs(nodes: list[Node]) -> Iterator[str | tuple[Node, ...]]:
    """Text, and Liquid nodes that follow each other without text between them."""
    run: list[Node] = []
    for node in nodes:
        if not isinstance(node, ContentNode):
            run.append(node)
        elif node.text:
            if run:
                yield tuple(run)
                run = []
            yield node.text
    if run:
        yield tuple(run)


def _plain_output(run: tuple[Node, ...], assigned: frozenset[str], *, escaped: bool) -> PlainOutput | None:
    if len(run) != 1 or type(run[0]) is not OutputNode:
        return None
    expression = run[0].expression
    if not isinstance(expression, FilteredExpression) or not isinstance(expression.left, Path):
        return None
    path = tuple(segment for segment in expression.left.path if isinstance(segment, str))
    if len(path) != len(expression.left.path) or path[0] in assigned or _PROPERTIES.intersection(path):
        return None
    filters = expression.filters or []
    if not filters:
        return PlainOutput(path, None, escaped)
    default = _default_text(filters)
    return None if default is None else PlainOutput(path, default, escaped)


def _default_text(filters: list[Filter]) -> str | None:
    """The text of a lone `default: "text"`."""
    if len(filters) != 1 or filters[0].name != "default" or len(filters[0].args) != 1:
        return None
    argument = filters[0].args[0]
    if isinstance(argument, PositionalArgument) and isinstance(argument.value, StringLiteral):
        return argument.value.value
    return None
