"""The JSON schema (draft 2020-12) of segment rules, made from the same tables as the reader. Pure.

It accepts what `db/segments/reading.py` accepts, but for what a schema cannot say: how many conditions a rule has, which of a pair comes
first, how many days a month has, and which time zones there are.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from db.segments.words import (
    CHANNELS,
    MAX_CONDITIONS,
    MAX_DAYS,
    MAX_DEPTH,
    MAX_ID,
    MAX_NUMBER,
    MAX_TEXT,
    MAX_TIMES,
    OPERATORS,
    Behaviour,
    FieldShape,
    Kind,
    Needs,
    Operator,
    most_values,
)

JsonSchema = dict[str, Any]
_DAY = {
    "type": "string",
    "format": "date",
    "pattern": "^[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$",
    "maxLength": 10,
}
_ONE_LINE = {"not": {"pattern": r"[\u0000-\u001f\u007f]"}}
_ID = {"type": "integer", "minimum": 1, "maximum": MAX_ID}
_SCALARS: Mapping[Kind, JsonSchema] = {
    Kind.TEXT: {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, **_ONE_LINE},
    Kind.NUMBER: {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.DATE: _DAY,
    Kind.MOMENT: _DAY,
    Kind.TAGS: {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, **_ONE_LINE},
    Kind.LISTS: _ID,
    Kind.CHANNELS: {"enum": list(CHANNELS)},
}


def rule_schema(fields: Mapping[str, FieldShape]) -> JsonSchema:
    """The schema of rules that may name these fields (`db.segments.words.shapes_of`)."""
    nodes = {f"node_{level}": _node(level) for level in range(1, MAX_DEPTH + 1)}
    time_zone = {
        "type": "string",
        "description": "IANA name of the zone in which days begin; UTC without it.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Segment rule",
        "description": f"Whom a dynamic list is of. At most {MAX_CONDITIONS} conditions, {MAX_DEPTH} levels.",
        "type": "object",
        "properties": {"time_zone": time_zone},
        "$ref": "#/$defs/node_1",
        "unevaluatedProperties": False,
        "$defs": {
            **nodes,
            "condition": {"oneOf": [*_conditions(fields), {"$ref": "#/$defs/message"}]},
            "message": _message(),
            "when": {"oneOf": _operations(FieldShape(Kind.MOMENT), {})},
        },
    }


def _node(level: int) -> JsonSchema:
    """A group or a condition. The outermost says `unevaluatedProperties` itself, since a time zone may stand beside it."""
    if level == MAX_DEPTH:
        return _closed({"$ref": "#/$defs/condition"}, level)
    inner = {"$ref": f"#/$defs/node_{level + 1}"}
    several = {"type": "array", "minItems": 1, "maxItems": MAX_CONDITIONS, "items": inner}
    groups = [
        {"type": "object", "required": ["all"], "properties": {"all": several, **_without("any", "not")}},
        {"type": "object", "required": ["any"], "properties": {"any": several, **_without("all", "not")}},
        {"type": "object", "required": ["not"], "properties": {"not": inner, **_without("all", "any")}},
    ]
    return _closed({"oneOf": [*groups, {"$ref": "#/$defs/condition"}]}, level)


def _closed(schema: JsonSchema, level: int) -> JsonSchema:
    return schema if level == 1 else {**schema, "unevaluatedProperties": False}


def _without(*names: str) -> JsonSchema:
    return dict.fromkeys(names, False)


def _conditions(fields: Mapping[str, FieldShape]) -> Iterable[JsonSchema]:
    """One for each kind of field and form of value; a choice has its own words."""
    groups: dict[FieldShape, list[str]] = {}
    for name, shape in fields.items():
        groups.setdefault(shape, []).append(name)
    for shape, names in groups.items():
        yield from _operations(shape, {"field": {"enum": names}})


def _operations(shape: FieldShape, properties: JsonSchema) -> list[JsonSchema]:
    by_need: dict[Needs, list[Operator]] = {}
    for operator, needs in OPERATORS[shape.kind].items():
        by_need.setdefault(needs, []).append(operator)
    return [_operation(needs, operators, shape, properties) for needs, operators in by_need.items()]


def _operation(
    needs: Needs, operators: list[Operator], shape: FieldShape, properties: JsonSchema
) -> JsonSchema:
    known = {**properties, "operator": {"enum": [operator.value for operator in operators]}}
    if needs is Needs.NOTHING:
        known["value"] = False
    else:
        known["value"] = _operand(needs, shape)
    required = [name for name in known if known[name] is not False]
    found = {"type": "object", "properties": known, "required": required}
    # Inside of a node, `unevaluatedProperties` looks after what else stands there; a `when` has no node around it.
    return found if properties else {**found, "additionalProperties": False}


def _operand(needs: Needs, shape: FieldShape) -> JsonSchema:
    scalar = {"enum": list(shape.choices)} if shape.kind is Kind.CHOICE else _SCALARS[shape.kind]
    match needs:
        case Needs.MANY:
            return {"type": "array", "minItems": 1, "maxItems": most_values(shape.kind), "items": scalar}
        case Needs.PAIR:
            return {"type": "array", "minItems": 2, "maxItems": 2, "items": scalar}
        case Needs.DAYS:
            return {"type": "integer", "minimum": 0, "maximum": MAX_DAYS}
        case _:
            return scalar


def _message() -> JsonSchema:
    return {
        "type": "object",
        "required": ["message"],
        "properties": {
            "message": {"enum": [behaviour.value for behaviour in Behaviour]},
            "when": {"$ref": "#/$defs/when"},
            "at_least": {"type": "integer", "minimum": 1, "maximum": MAX_TIMES},
            "flow": _ID,
            "execution": _ID,
            "channel": {"enum": list(CHANNELS)},
        },
    }
