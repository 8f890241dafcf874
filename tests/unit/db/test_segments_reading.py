"""Rules that are none: the part that is wrong is named, and what would be right."""

from typing import Any

import pytest

from db.errors import Invalid
from db.fields import FieldKind, FieldType
from db.segments.reading import read_rule
from db.segments.rules import All, FieldCondition, MessageCondition, Not, When
from db.segments.words import TRACES, Behaviour, Operator, shapes_of
from tasks.providers.events import EventKind

FIELDS = shapes_of(
    {
        "city": FieldType("city", FieldKind.TEXT),
        "visits": FieldType("visits", FieldKind.NUMBER),
        "plan": FieldType("plan", FieldKind.CHOICE, ("free", "pro")),
    }
)
OK = {"field": "email", "operator": "is_set"}


def refusal(rule: Any) -> str:
    with pytest.raises(Invalid) as caught:
        read_rule(rule, FIELDS)
    return str(caught.value)


def test_a_rule_becomes_values() -> None:
    document = {
        "time_zone": "Europe/Dublin",
        "all": [
            {"field": "custom.city", "operator": "in", "value": ["Cork", "Dublin"]},
            {"not": {"message": "opened", "flow": 3.0, "when": {"operator": "in_last_days", "value": 30}}},
        ],
    }
    rule = read_rule(document, FIELDS)
    assert rule.time_zone == "Europe/Dublin"
    assert rule.node == All(
        (
            FieldCondition("custom.city", FIELDS["custom.city"], Operator.IN, ("Cork", "Dublin")),
            Not(MessageCondition(Behaviour.OPENED, When(Operator.IN_LAST_DAYS, 30), flow=3)),
        )
    )


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ([], 'rule: an object such as {"field": ..., "operator": ..., "value": ...} is needed'),
        ({}, "rule: one of 'all', 'any', 'not', 'field', 'message' is needed"),
        ({"al": [OK]}, "rule: one of 'all', 'any', 'not', 'field', 'message' is needed; did you mean 'all'?"),
        ({"all": [OK], "any": [OK]}, "rule: 'all', 'any' cannot stand together; put them into an 'all'"),
        ({"all": []}, "rule.all: a list of one or more conditions is needed"),
        ({"all": [OK, {"not": 3}]}, 'rule.all.1.not: an object such as {"field": ..., "operator": ..., "value": ...} is needed'),
        ({"field": "emial", "operator": "is_set"}, "rule.field: there is no field 'emial'; did you mean 'email'?"),
        ({"field": "city", "operator": "is_set"}, "rule.field: there is no field 'city'; did you mean 'custom.city'?"),
        ({"field": "custom.citty", "operator": "is_set"}, "rule.field: there is no field 'custom.citty'; did you mean 'custom.city'?"),
        ({"field": "email", "operator": "start_with"}, "rule.operator: 'start_with' is no operator of a text field; did you mean 'ends_with'?"),
        ({"field": "tags", "operator": "is", "value": "vip"}, "rule.operator: 'is' is no operator of a tags field; did you mean 'is_set'?"),
        ({"field": "email"}, "rule: an 'operator' is needed: is, is_not, in, contains, begins_with, ends_with, is_set, is_not_set"),
        ({"field": "email", "operator": "is"}, "rule.value: 'is' needs a value"),
        ({"field": "email", "operator": "is_set", "value": 1}, "rule.value: 'is_set' takes no value"),
        ({"field": "email", "operator": "is", "valu": 1}, "rule: 'valu' is no part of this; did you mean 'value'?"),
        ({"field": "email", "operator": "is", "value": ""}, "rule.value: text of 1 to 200 characters is needed"),
        ({"field": "email", "operator": "is", "value": "a\nb"}, "rule.value: text must not contain line breaks or control characters"),
        ({"field": "custom.visits", "operator": "at_least", "value": "5"}, "rule.value: a number is needed"),
        ({"field": "custom.visits", "operator": "at_least", "value": True}, "rule.value: a number is needed"),
        ({"field": "custom.visits", "operator": "is", "value": None}, "rule.value: a number is needed; 'is_not_set' finds clients without one"),
        ({"field": "custom.visits", "operator": "between", "value": [5, 1]}, "rule.value: the first of the two values must not be above the second"),
        ({"field": "custom.plan", "operator": "in", "value": ["free", "por"]}, "rule.value.1: one of 'free', 'pro' is needed, 'por' is none of them; did you mean 'pro'?"),
        ({"field": "created_at", "operator": "on", "value": "2026-02-30"}, "rule.value: a date such as 2026-11-23 is needed"),
        ({"field": "created_at", "operator": "in_last_days", "value": 1.5}, "rule.value: a whole number from 0 to 36,500 is needed"),
        ({"field": "lists", "operator": "has_any", "value": [0]}, "rule.value.0: a whole number from 1 to 9,223,372,036,854,775,807 is needed"),
        ({"field": "tags", "operator": "has_any", "value": ["a"] * 1001}, "rule.value: a list of 1 to 100 values is needed"),
        ({"message": "open"}, "rule.message: one of 'sent', 'delivered', 'opened', 'machine_opened', 'clicked', 'bounced', 'undelivered', 'replied', 'complained', 'unsubscribed' is needed, 'open' is none of them; did you mean 'opened'?"),
        ({"message": "opened", "when": {"operator": "in_next_days", "value": 3}}, "rule.when.operator: 'in_next_days' is no operator of a moment field; did you mean 'in_last_days'?"),
        ({"message": "opened", "since": 3}, "rule: 'since' is no part of this; there are: at_least, channel, execution, flow, message, when"),
        ({**OK, "time_zone": "Dublin"}, "rule.time_zone: unknown; use an IANA name such as Europe/Dublin"),
        ({"all": [OK] * 101}, "rule.all: a rule has at most 100 conditions"),
        ({"all": [{"any": [OK] * 60}, {"any": [OK] * 60}]}, "rule.all.1.any.40: a rule has at most 100 conditions"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(rule: Any, message: str) -> None:
    assert refusal(rule) == message


def test_a_nest_without_end_is_refused_at_its_limit() -> None:
    rule: dict[str, Any] = OK
    for _ in range(500):
        rule = {"not": rule}
    assert refusal(rule).endswith("a rule has at most 8 levels")


def test_every_behaviour_is_known_by_kinds_of_events_that_there_are() -> None:
    assert set(TRACES) == set(Behaviour) - {Behaviour.SENT}
    kinds = [kind for events in TRACES.values() for kind in events]
    assert len(kinds) == len(set(kinds))
    assert set(kinds) <= {kind.value for kind in EventKind}
