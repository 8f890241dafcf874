"""What rules mean, in words."""

from typing import Any

import pytest
from hypothesis import given

from db.fields import FieldKind, FieldType
from db.segments.reading import read_rule
from db.segments.words import shapes_of
from tasks.segments.explaining import Names, explain
from tests.segments import CHOICES, CUSTOM, World, rules

FIELDS = shapes_of(
    {
        key: FieldType(key, kind, tuple(CHOICES) if kind is FieldKind.CHOICE else ())
        for key, kind in CUSTOM.items()
    }
)
NAMES = Names({"2nd_visits": "number of visits"}, {1: "Customers", 2: "Friends"}, {4: "Spring"})


def words(rule: dict[str, Any]) -> str:
    return explain(read_rule(rule, FIELDS), NAMES)


def field(name: str, operator: str, *value: Any) -> dict[str, Any]:
    return {"field": name, "operator": operator, **({"value": value[0]} if value else {})}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (field("email", "ends_with", "@shop.ie"), "Clients whose email ends with '@shop.ie'"),
        (field("email", "is_not_set"), "Clients whose email is not known"),
        ({"not": field("email", "is_not_set")}, "Clients whose email is known"),
        ({"not": {"not": field("email", "is", "a")}}, "Clients whose email is 'a'"),
        (field("custom.2nd_visits", "between", [1, 2500]), "Clients whose number of visits is between 1 and 2,500"),
        (field("custom.member", "is", True), "Clients whose member is yes"),
        (field("custom.birthday", "anniversary_today"), "Clients whose birthday is a day whose anniversary is today"),
        (field("custom.birthday", "in_next_days", 1), "Clients whose birthday is within the next 1 day"),
        (field("created_at", "before", "2026-11-01"), "Clients who were created before 1 November 2026"),
        (field("created_at", "between", ["2026-01-01", "2026-02-01"]), "Clients who were created from 1 January 2026 to 1 February 2026"),
        ({"not": field("created_at", "more_than_days_ago", 7)}, "Clients who were not created more than 7 days ago"),
        (field("tags", "has_all", ["a", "b", "c"]), "Clients who are tagged 'a', 'b' and 'c'"),
        (field("tags", "is_not_set"), "Clients who have no tag"),
        (field("lists", "has_none", [1, 2]), "Clients who are not on the lists 'Customers' or 'Friends'"),
        (field("suppressed", "has_any", ["sms"]), "Clients who are suppressed on sms"),
        ({"message": "sent", "flow": 4, "at_least": 3, "channel": "sms"}, "Clients who were sent 3 or more SMS of the flow 'Spring'"),
        ({"not": {"message": "opened", "when": {"operator": "since", "value": "2026-11-01"}}}, "Clients who did not open a message since 1 November 2026"),
        ({"not": {"all": [field("email", "is_set"), field("phone", "is_set")]}}, "Clients for whom this is not true: (whose email is known, and whose phone is known)"),
        ({"any": [field("email", "is_set"), {"all": [field("phone", "is_set"), field("tags", "is_set")]}]},
         "Clients whose email is known, or (whose phone is known, and who have a tag)"),
        ({**field("email", "is_set"), "time_zone": "Europe/Dublin"}, "Clients whose email is known (days of Europe/Dublin)"),
        (field("first_name", "in", [f"n{number}" for number in range(12)]), "Clients whose first name is 'n0', 'n1', 'n2', 'n3', 'n4', 'n5', 'n6', 'n7', 'n8', 'n9' or 2 more"),
    ],
)  # fmt: skip
def test_a_rule_is_a_sentence(rule: dict[str, Any], text: str) -> None:
    assert words(rule) == text


@given(rules(World([], [1, 2], {3: {}}, [4], [5])))
def test_every_rule_can_be_explained(rule: dict[str, Any]) -> None:
    text = words(rule)
    assert text.startswith("Clients ")
    assert "Operator" not in text
    assert "None" not in text
