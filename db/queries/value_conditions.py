"""Conditions on values of a client: texts, choices, numbers, tags, suppressions. What belongs to `db/queries/conditions.py` besides."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Double, and_, func, literal, literal_column, or_, select, true

from db.dialect import (
    as_bytes,
    folded,
    found_by,
    json_boolean,
    json_has,
    json_is_number,
    json_number,
    json_size,
    json_string,
)
from db.models import Client, Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.segments.rules import FieldCondition, Value
from db.segments.texts import fold
from db.segments.words import Kind, Operator
from db.states import Channel, Consent

Condition = ColumnElement[bool]
ONE: ColumnElement[int] = literal_column("1")
"""What a look-up selects, which only asks whether there is a row."""


def custom_text(asked: FieldCondition) -> ColumnElement[str]:
    return json_string(Client.custom_fields, _path(asked))


def _path(asked: FieldCondition) -> str:
    # In quotes: a key may begin with a digit, which no name in a path may.
    return f'$."{asked.custom_key}"'


def _text(asked: FieldCondition) -> Condition:
    column = custom_text(asked) if asked.custom_key else getattr(Client, asked.name)
    if asked.operator is Operator.IS_SET:
        # Not `<> ''`: the servers take a value of spaces for an empty one.
        return func.length(column) > 0
    value: Any = asked.value
    text: ColumnElement[str] = folded(column)
    match asked.operator:
        case Operator.IS:
            return text == fold(value)
        case Operator.IN:
            return text.in_([fold(each) for each in value])
        case Operator.CONTAINS:
            return text.contains(fold(value), autoescape=True)
        case Operator.BEGINS_WITH:
            return text.startswith(fold(value), autoescape=True)
        case _:
            return text.endswith(fold(value), autoescape=True)


def _choice(asked: FieldCondition) -> Condition:
    words = [str(each) for each in many(asked.value)]
    if asked.custom_key is None:
        column = getattr(Client, asked.name)
        return true() if asked.operator is Operator.IS_SET else column.in_([Consent(word) for word in words])
    text = as_bytes(custom_text(asked))
    return func.length(text) > 0 if asked.operator is Operator.IS_SET else text.in_(words)


def _boolean(asked: FieldCondition) -> Condition:
    text: ColumnElement[str] = json_boolean(Client.custom_fields, _path(asked))
    if asked.operator is Operator.IS_SET:
        return text.in_(["true", "false"])
    return text == ("true" if asked.value else "false")


def _number(asked: FieldCondition) -> Condition:
    is_number = json_is_number(Client.custom_fields, _path(asked))
    if asked.operator is Operator.IS_SET:
        return is_number
    number: ColumnElement[Any] = json_number(Client.custom_fields, _path(asked))
    values = [literal(float(each), Double) for each in many(asked.value)]
    fits = _COMPARE[asked.operator](number, values)
    # Comparing costs less than asking for the type, which is left for those few that fit.
    return and_(fits, is_number)


_COMPARE: Mapping[Operator, Callable[[ColumnElement[Any], list[Any]], Condition]] = {
    Operator.IS: lambda number, values: number == values[0],
    Operator.IN: lambda number, values: number.in_(values),
    Operator.GREATER_THAN: lambda number, values: number > values[0],
    Operator.AT_LEAST: lambda number, values: number >= values[0],
    Operator.LESS_THAN: lambda number, values: number < values[0],
    Operator.AT_MOST: lambda number, values: number <= values[0],
    Operator.BETWEEN: lambda number, values: number.between(values[0], values[1]),
}


def _tags(asked: FieldCondition) -> Condition:
    if asked.operator is Operator.IS_SET:
        return json_size(Client.tags) > 0
    found = [_has_tag(tag) for tag in many(asked.value)]
    return and_(*found) if asked.operator is Operator.HAS_ALL else or_(*found)


def _has_tag(tag: str) -> Condition:
    # MariaDB compares JSON texts as they were written, and writers may have escaped what is not ASCII.
    written = dict.fromkeys((json.dumps(tag), json.dumps(tag, ensure_ascii=False)))
    return or_(*(json_has(Client.tags, text) for text in written))


def _channels(asked: FieldCondition) -> Condition:
    found = [suppressed(Channel(str(each))) for each in many(asked.value)]
    return and_(*found) if asked.operator is Operator.HAS_ALL else or_(*found)


def suppressed(channel: Channel) -> Condition:
    """Whether the client's address for the channel must not be written to by any flow."""
    address = Client.email if channel is Channel.EMAIL else Client.phone
    return found_by(
        select(ONE)
        .select_from(Unsubscribed)
        .where(
            Unsubscribed.channel == channel,
            Unsubscribed.address == address,
            Unsubscribed.scope == EVERYWHERE,
            Unsubscribed.active.is_(True),
        )
        .correlate(Client)
    )


VALUE_CONDITIONS: Mapping[Kind, Callable[[FieldCondition], Condition]] = {
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.BOOLEAN: _boolean,
    Kind.NUMBER: _number,
    Kind.TAGS: _tags,
    Kind.CHANNELS: _channels,
}


def many(value: Value) -> Sequence[Any]:
    return value if isinstance(value, tuple) else (value,)
