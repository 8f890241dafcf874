"""`docs/segments.md` says what there is, and its examples are rules that mean what it says."""

import json
import re
from pathlib import Path

import pytest

from db.fields import FieldKind, FieldType
from db.segments.reading import read_rule
from db.segments.words import OPERATORS, PROFILE, Behaviour, shapes_of
from tasks.segments.explaining import Names, explain

TEXT = (Path(__file__).parents[2] / "docs" / "segments.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```\n\n> (.*?)\n", TEXT, re.DOTALL)
CUSTOM = {
    "city": FieldKind.TEXT,
    "visits": FieldKind.NUMBER,
    "birthday": FieldKind.DATE,
    "member": FieldKind.BOOLEAN,
}
FIELDS = shapes_of({key: FieldType(key, kind) for key, kind in CUSTOM.items()})


@pytest.mark.parametrize(("source", "meaning"), EXAMPLES)
def test_an_example_means_what_is_said_of_it(source: str, meaning: str) -> None:
    rule = read_rule(json.loads(source), FIELDS)
    assert explain(rule, Names({}, {1: "Customers"}, {})) == meaning


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == TEXT.count("```json") >= 5


def test_every_operator_stands_in_the_table_of_its_kind() -> None:
    for kind, operators in OPERATORS.items():
        (row,) = re.findall(rf"^\| {kind} \| (`.*) \|$", TEXT, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) == {operator.value for operator in operators}, kind


def test_every_field_and_behaviour_is_described() -> None:
    for name in (*PROFILE, *(behaviour.value for behaviour in Behaviour)):
        assert f"`{name}`" in TEXT, name
