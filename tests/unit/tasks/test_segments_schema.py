"""The published schema and the reader take the same rules."""

import copy
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from db.errors import Invalid
from db.fields import FieldKind, FieldType
from db.segments.reading import read_rule
from db.segments.words import MAX_DEPTH, shapes_of
from tasks.segments.schema import rule_schema
from tests.segments import CHOICES, CUSTOM, World, rules

FIELDS = shapes_of(
    {
        key: FieldType(key, kind, tuple(CHOICES) if kind is FieldKind.CHOICE else ())
        for key, kind in CUSTOM.items()
    }
)
SCHEMA = rule_schema(FIELDS)
VALIDATOR = Draft202012Validator(SCHEMA)
WORLD = World([], [1, 2], {3: {}}, [4], [5])
# What may stand anywhere in a rule by mistake.
JUNK: list[Any] = [None, True, 0, 1, 1.5, 3.0, -1, "", "x", "Cork", "2026-02-30", "2026-13-01", "0999-01-01", "a\nb", "2026-01-01\n",
        [], [1], ["a"], [1, 2, 3], {}, {"operator": "on"}, 2**53 + 2, 2**63, "is", "has_any", "custom.nothing", "x" * 201]  # fmt: skip
NAMES = ["all", "any", "not", "field", "operator", "value", "message", "when", "at_least", "flow", "execution", "channel",
         "time_zone", "other"]  # fmt: skip


def reads(rule: Any) -> bool:
    try:
        read_rule(rule, FIELDS)
    except Invalid:
        return False
    return True


def places(rule: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in the rule."""
    found: list[tuple[Any, Any]] = []
    keys = list(rule) if isinstance(rule, dict) else list(range(len(rule))) if isinstance(rule, list) else []
    for key in keys:
        found.append((rule, key))
        found += places(rule[key])
    return found


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@given(rules(WORLD))
def test_both_take_what_is_a_rule(rule: dict[str, Any]) -> None:
    assert reads(rule)
    assert VALIDATOR.is_valid(rule)


@given(rules(WORLD), st.data())
def test_both_refuse_what_is_none(rule: dict[str, Any], data: st.DataObject) -> None:
    broken = copy.deepcopy(rule)
    for _ in range(data.draw(st.integers(1, 2))):
        container, key = data.draw(st.sampled_from(places(broken)))
        match data.draw(st.sampled_from(["junk", "drop", "add", "rename"])):
            case "junk":
                container[key] = data.draw(st.sampled_from(JUNK))
            case "drop":
                del container[key]
            case "add" if isinstance(container, dict):
                container[data.draw(st.sampled_from(NAMES))] = data.draw(st.sampled_from(JUNK))
            case "rename" if isinstance(container, dict):
                container[data.draw(st.sampled_from(NAMES))] = container.pop(key)
        assume(places(broken))
    # What no schema can say: days of a month, the order of a pair, names of time zones.
    text = str(broken)
    assume("2026-02-30" not in text and "between" not in text)
    assume("time_zone" not in broken or broken["time_zone"] == rule.get("time_zone"))
    assert VALIDATOR.is_valid(broken) == reads(broken), broken


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH])
def test_both_count_the_same_levels(depth: int) -> None:
    rule: dict[str, Any] = {"field": "email", "operator": "is_set"}
    for _ in range(depth):
        rule = {"not": rule}
    assert reads(rule) == VALIDATOR.is_valid(rule) == (depth < MAX_DEPTH)
