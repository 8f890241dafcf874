"""Reads a rule from its JSON, or says which part of it is wrong and what would be right.

The published JSON schema (`tasks/segments/schema.py`) accepts the same documents, but for what a schema cannot say: the number of
conditions, the order of a pair, the days of a month, and the names of time zones.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

from db.errors import Invalid
from db.fields import FieldKind, FieldType, ValueRefused, check_value, nearest
from db.segments.rules import (
    All,
    AnyOf,
    FieldCondition,
    MessageCondition,
    Node,
    Not,
    Rule,
    Scalar,
    Value,
    When,
)
from db.segments.words import (
    CHANNELS,
    CUSTOM,
    MAX_CONDITIONS,
    MAX_DAYS,
    MAX_DEPTH,
    MAX_ID,
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
from db.states import Channel

UNSTORABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
EARLIEST = date(1000, 1, 1)
"""The first day that every database can compare."""

_BRANCHES = ("all", "any", "not", "field", "message")
_FIELD_PARTS = ("field", "operator", "value")
_MESSAGE_PARTS = ("message", "when", "at_least", "flow", "execution", "channel")
_NUMBER = FieldType("", FieldKind.NUMBER)
_DATE = FieldType("", FieldKind.DATE)


def read_rule(document: Any, fields: Mapping[str, FieldShape], *, path: str = "rule") -> Rule:
    """The rule in `document`; `fields` are those it may name (`words.shapes_of`), `path` is where it stands in a request.

    Raises:
        Invalid: names the part, e.g. `rule.all.1.value`, and what would be accepted.
    """
    parts = _object(document, path)
    reader = _Reader(fields)
    node = reader.node({key: value for key, value in parts.items() if key != "time_zone"}, path, depth=1)
    if "time_zone" not in parts:
        return Rule(node)
    return Rule(node, _time_zone(parts["time_zone"], f"{path}.time_zone"))


class _Reader:
    """Goes down the tree once, counting conditions."""

    def __init__(self, fields: Mapping[str, FieldShape]) -> None:
        self._fields = fields
        self._conditions = 0

    def node(self, document: Any, path: str, *, depth: int) -> Node:
        parts = _object(document, path)
        if depth > MAX_DEPTH:
            raise Invalid(path, f"a rule has at most {MAX_DEPTH} levels")
        match [key for key in _BRANCHES if key in parts]:
            case ["all" | "any" | "not" as word]:
                _only(parts, (word,), path)
                return self._group(word, parts[word], f"{path}.{word}", depth + 1)
            case ["field" | "message" as word]:
                self._count(path)
                return self._field(parts, path) if word == "field" else _message(parts, path)
            case []:
                hint = next((nearest(key, _BRANCHES) for key in parts), "")
                raise Invalid(path, f"one of {_listed(_BRANCHES)} is needed{hint}")
            case several:
                raise Invalid(path, f"{_listed(several)} cannot stand together; put them into an 'all'")

    def _group(self, word: str, document: Any, path: str, depth: int) -> Node:
        if word == "not":
            return Not(self.node(document, path, depth=depth))
        if not isinstance(document, list) or not document:
            raise Invalid(path, "a list of one or more conditions is needed")
        if len(document) > MAX_CONDITIONS:
            raise Invalid(path, f"a rule has at most {MAX_CONDITIONS} conditions")
        nodes = tuple(self.node(each, f"{path}.{at}", depth=depth) for at, each in enumerate(document))
        return All(nodes) if word == "all" else AnyOf(nodes)

    def _count(self, path: str) -> None:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise Invalid(path, f"a rule has at most {MAX_CONDITIONS} conditions")

    def _field(self, parts: Mapping[str, Any], path: str) -> FieldCondition:
        _only(parts, _FIELD_PARTS, path)
        name = parts["field"]
        shape = self._shape(name, f"{path}.field")
        operator = _operator(parts, shape.kind, path)
        return FieldCondition(name, shape, operator, _operand(parts, shape, operator, path), path)

    def _shape(self, name: Any, path: str) -> FieldShape:
        shape = self._fields.get(name) if isinstance(name, str) else None
        if shape is not None:
            return shape
        if not isinstance(name, str):
            raise Invalid(path, "the name of a field is needed")
        known = self._fields.keys()
        # Somebody who forgets "custom." shall be told so, and not that a field of the profile looks alike.
        hint = f"; did you mean '{CUSTOM}{name}'?" if CUSTOM + name in known else nearest(name, known)
        raise Invalid(path, f"there is no field '{_shown(name)}'{hint}")


def _message(parts: Mapping[str, Any], path: str) -> MessageCondition:
    _only(parts, _MESSAGE_PARTS, path)
    behaviour = _word(parts["message"], [each.value for each in Behaviour], f"{path}.message")
    found: dict[str, Any] = {}
    if "when" in parts:
        found["when"] = _when(parts["when"], f"{path}.when")
    if "at_least" in parts:
        found["at_least"] = _whole(parts["at_least"], 1, MAX_TIMES, f"{path}.at_least")
    for name in ("flow", "execution"):
        if name in parts:
            found[name] = _whole(parts[name], 1, MAX_ID, f"{path}.{name}")
    if "channel" in parts:
        found["channel"] = Channel(_word(parts["channel"], CHANNELS, f"{path}.channel"))
    return MessageCondition(Behaviour(behaviour), path=path, **found)


def _when(document: Any, path: str) -> When:
    parts = _object(document, path)
    _only(parts, ("operator", "value"), path)
    operator = _operator(parts, Kind.MOMENT, path)
    return When(operator, _operand(parts, FieldShape(Kind.MOMENT), operator, path))


def _operator(parts: Mapping[str, Any], kind: Kind, path: str) -> Operator:
    known = [operator.value for operator in OPERATORS[kind]]
    if "operator" not in parts:
        raise Invalid(path, f"an 'operator' is needed: {', '.join(known)}")
    name = parts["operator"]
    if isinstance(name, str) and name in known:
        return Operator(name)
    shown = f"'{_shown(name)}'" if isinstance(name, str) else "this"
    hint = nearest(name, known) if isinstance(name, str) else f"; there are: {', '.join(known)}"
    raise Invalid(f"{path}.operator", f"{shown} is no operator of a {kind} field{hint}")


def _operand(parts: Mapping[str, Any], shape: FieldShape, operator: Operator, path: str) -> Value:
    """The operator's value, of the kind of the field."""
    needs, path_of_value = OPERATORS[shape.kind][operator], f"{path}.value"
    if needs is Needs.NOTHING:
        if "value" in parts:
            raise Invalid(path_of_value, f"'{operator}' takes no value")
        return None
    if "value" not in parts:
        raise Invalid(path_of_value, f"'{operator}' needs a value")
    value = parts["value"]
    match needs:
        case Needs.DAYS:
            return _whole(value, 0, MAX_DAYS, path_of_value)
        case Needs.MANY:
            return _many(value, shape, path_of_value)
        case Needs.PAIR:
            return _pair(value, shape, path_of_value)
        case _:
            return _scalar(value, shape, path_of_value)


def _many(value: Any, shape: FieldShape, path: str) -> tuple[Scalar, ...]:
    most = most_values(shape.kind)
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise Invalid(path, f"a list of 1 to {most:,} values is needed")
    return tuple(_scalar(each, shape, f"{path}.{at}") for at, each in enumerate(value))


def _pair(value: Any, shape: FieldShape, path: str) -> tuple[Scalar, ...]:
    if not isinstance(value, list) or len(value) != 2:
        raise Invalid(path, "a list of two values is needed: from and to")
    low, high = (_scalar(each, shape, f"{path}.{at}") for at, each in enumerate(value))
    if low > high:  # type: ignore[operator]  # both are numbers, or both are dates
        raise Invalid(path, "the first of the two values must not be above the second")
    return low, high


def _scalar(value: Any, shape: FieldShape, path: str) -> Scalar:
    match shape.kind:
        case Kind.CHOICE:
            return _word(value, shape.choices, path)
        case Kind.CHANNELS:
            return _word(value, CHANNELS, path)
        case kind:
            return _SCALARS[kind](value, path)


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise Invalid(path, f"text of 1 to {MAX_TEXT} characters is needed")
    if UNSTORABLE.search(value):
        raise Invalid(path, "text must not contain line breaks or control characters")
    return value


def _number(value: Any, path: str) -> int | float:
    found = _checked(_NUMBER, value, path)
    assert isinstance(found, int | float)
    return found


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise Invalid(path, "true or false is needed")
    return value


def _day(value: Any, path: str) -> date:
    day = date.fromisoformat(str(_checked(_DATE, value, path)))
    if day < EARLIEST:
        raise Invalid(path, "a date from the year 1000 on is needed")
    return day


def _id(value: Any, path: str) -> int:
    return _whole(value, 1, MAX_ID, path)


_SCALARS: Mapping[Kind, Callable[[Any, str], Scalar]] = {
    Kind.TEXT: _text,
    Kind.NUMBER: _number,
    Kind.BOOLEAN: _boolean,
    Kind.DATE: _day,
    Kind.MOMENT: _day,
    Kind.TAGS: _text,
    Kind.LISTS: _id,
}


def _checked(field: FieldType, value: Any, path: str) -> Any:
    try:
        found = check_value(field, value)
    except ValueRefused as error:
        raise Invalid(path, str(error)) from None
    if found is None:
        raise Invalid(path, f"a {field.kind} is needed; 'is_not_set' finds clients without one")
    return found


def _whole(value: Any, low: int, high: int, path: str) -> int:
    # 3.0 is a whole number in JSON and its schemas.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Invalid(path, f"a whole number from {low:,} to {high:,} is needed")
    return value


def _word(value: Any, known: tuple[str, ...] | list[str], path: str) -> str:
    if isinstance(value, str) and value in known:
        return value
    shown = f"'{_shown(value)}' is none of them" if isinstance(value, str) else "it is not text"
    hint = nearest(value, known) if isinstance(value, str) else ""
    raise Invalid(path, f"one of {_listed(known[:30])} is needed, {shown}{hint}")


def _time_zone(value: Any, path: str) -> str:
    if not isinstance(value, str) or value not in _time_zones():
        raise Invalid(path, "unknown; use an IANA name such as Europe/Dublin")
    return value


@lru_cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _object(document: Any, path: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise Invalid(path, 'an object such as {"field": ..., "operator": ..., "value": ...} is needed')
    return document


def _only(parts: Mapping[str, Any], known: tuple[str, ...], path: str) -> None:
    for key in parts:
        if key not in known:
            raise Invalid(path, f"'{_shown(key)}' is no part of this{nearest(key, known)}")


def _listed(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)


def _shown(text: str) -> str:
    return text[:64].encode("ascii", "replace").decode()
