"""A rule that was read: frozen values, which the compiler and the explanation walk through."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TypeAlias

from db.segments.words import CUSTOM, Behaviour, FieldShape, Operator
from db.states import Channel

Scalar: TypeAlias = str | int | float | bool | date
Value: TypeAlias = Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True)
class All:
    """Every one of the nodes."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True)
class AnyOf:
    """At least one of the nodes."""

    nodes: "tuple[Node, ...]"


@dataclass(frozen=True)
class Not:
    """Exactly the clients whom the node does not choose."""

    node: "Node"


@dataclass(frozen=True)
class FieldCondition:
    """A field, an operator of its kind, and the operator's value."""

    field: str
    shape: FieldShape
    operator: Operator
    value: Value = None

    @property
    def custom_key(self) -> str | None:
        """The key of the custom field, None for a field of the profile."""
        return self.field.removeprefix(CUSTOM) if self.field.startswith(CUSTOM) else None


@dataclass(frozen=True)
class When:
    """The days in which something has to have happened."""

    operator: Operator
    value: Value


@dataclass(frozen=True)
class MessageCondition:
    """At least `at_least` messages to the client of which this is true; None leaves a filter out."""

    behaviour: Behaviour
    when: When | None = None
    at_least: int = 1
    flow: int | None = None
    execution: int | None = None
    channel: Channel | None = None


Node: TypeAlias = All | AnyOf | Not | FieldCondition | MessageCondition


@dataclass(frozen=True)
class Rule:
    """A node, and the time zone in which days begin."""

    node: Node
    time_zone: str = "UTC"


@dataclass(frozen=True)
class References:
    """What else a rule names, by id or key."""

    lists: frozenset[int] = field(default_factory=frozenset)
    flows: frozenset[int] = field(default_factory=frozenset)
    executions: frozenset[int] = field(default_factory=frozenset)
    custom_keys: frozenset[str] = field(default_factory=frozenset)


def conditions_of(node: Node) -> Iterator[FieldCondition | MessageCondition]:
    """The leaves of the tree, from left to right."""
    match node:
        case All(nodes) | AnyOf(nodes):
            for each in nodes:
                yield from conditions_of(each)
        case Not(inner):
            yield from conditions_of(inner)
        case _:
            yield node


def references_of(rule: Rule) -> References:
    """Everything that the rule names and that has to exist."""
    lists: set[int] = set()
    flows: set[int] = set()
    executions: set[int] = set()
    keys: set[str] = set()
    for condition in conditions_of(rule.node):
        match condition:
            case MessageCondition(flow=flow, execution=execution):
                flows.update([flow] if flow else [])
                executions.update([execution] if execution else [])
            case FieldCondition(field="lists", value=tuple(ids)):
                lists.update(each for each in ids if isinstance(each, int))
            case FieldCondition(custom_key=str(key)):
                keys.add(key)
    return References(frozenset(lists), frozenset(flows), frozenset(executions), frozenset(keys))
