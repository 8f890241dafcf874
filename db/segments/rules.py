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
    """A field, an operator of its kind, and the operator's value. `path` is where it stands, for what is said about it."""

    name: str
    shape: FieldShape
    operator: Operator
    value: Value = None
    path: str = field(default="", compare=False)

    @property
    def custom_key(self) -> str | None:
        """The key of the custom field, None for a field of the profile."""
        return self.name.removeprefix(CUSTOM) if self.name.startswith(CUSTOM) else None


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
    path: str = field(default="", compare=False)


Node: TypeAlias = All | AnyOf | Not | FieldCondition | MessageCondition


@dataclass(frozen=True)
class Rule:
    """A node, and the time zone in which days begin."""

    node: Node
    time_zone: str = "UTC"


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


def named_lists(rule: Rule) -> dict[int, str]:
    """The lists that the rule names, and where it does so first."""
    found: dict[int, str] = {}
    for condition in conditions_of(rule.node):
        if isinstance(condition, FieldCondition) and condition.name == "lists":
            ids = condition.value if isinstance(condition.value, tuple) else ()
            for at, each in enumerate(ids):
                if isinstance(each, int):
                    found.setdefault(each, f"{condition.path}.value.{at}")
    return found


def named_fields(rule: Rule) -> set[str]:
    """The keys of the custom fields that the rule names."""
    conditions = conditions_of(rule.node)
    return {each.custom_key for each in conditions if isinstance(each, FieldCondition) and each.custom_key}


def named_flows(rule: Rule) -> dict[int, str]:
    """The flows that the rule names, and where it does so first."""
    messages = [each for each in conditions_of(rule.node) if isinstance(each, MessageCondition)]
    return {each.flow: f"{each.path}.flow" for each in reversed(messages) if each.flow is not None}


def named_executions(rule: Rule) -> dict[int, str]:
    """The executions that the rule names, and where it does so first."""
    messages = [each for each in conditions_of(rule.node) if isinstance(each, MessageCondition)]
    return {
        each.execution: f"{each.path}.execution" for each in reversed(messages) if each.execution is not None
    }
