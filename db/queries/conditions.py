"""A rule as a condition on `Client`. What it does not choose is exactly what `not` of it does, values that are missing included.

A condition may be NULL where a value is missing, which chooses nobody, as false does. `not` asks whether it IS NOT TRUE. Within
`all` and `any`, what costs little comes first: databases look no further when the answer is clear.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    and_,
    false,
    func,
    or_,
    select,
    true,
)

from db.dialect import (
    as_bytes,
    found_by,
    is_not_true,
)
from db.models import Client, ClientListMember, Event, FlowExecution, Message
from db.queries.value_conditions import ONE, VALUE_CONDITIONS, Condition, custom_text, many
from db.segments.days import Days, anniversaries_of, days_of, moments_of, today_in
from db.segments.rules import All, AnyOf, FieldCondition, MessageCondition, Node, Not, Rule, Value
from db.segments.words import TRACES, Behaviour, Kind, Operator
from db.states import MessageState

# Dates are stored as text; what does not lie between these is none.
_FIRST_DAY, _LAST_DAY = "0001-01-01", "9999-12-31"
_COST = {Kind.MOMENT: 1, Kind.TEXT: 2, Kind.CHOICE: 1, Kind.TAGS: 12, Kind.LISTS: 20, Kind.CHANNELS: 30}
_COST_OF_CUSTOM, _COST_OF_EVENTS, _COST_OF_MESSAGES = 10, 25, 50


def condition_of(
    rule: Rule,
    *,
    now: datetime,
    dynamic: Mapping[int, Condition],
    executions: Mapping[MessageCondition, Sequence[int]],
) -> Condition:
    """True for the clients whom the rule chooses at the moment `now`.

    `dynamic` are the conditions of the dynamic lists that it names; all other lists are static. `executions` are those that a
    condition is about, where that is known: without it they are looked up for each message.
    """
    return _Compiler(rule.time_zone, now, dynamic, executions).condition(rule.node)


def executions_of(asked: MessageCondition, time_zone: str, now: datetime) -> Select[tuple[int]] | None:
    """The ids of the executions to which the condition's messages belong; None where they may belong to any."""
    narrows = narrowing(asked, time_zone, now)
    return select(FlowExecution.id).where(*narrows) if narrows else None


def narrowing(asked: MessageCondition, time_zone: str, now: datetime) -> list[Condition]:
    """What the condition asks of the execution of a message."""
    found: list[Condition] = []
    if asked.flow is not None:
        found.append(FlowExecution.flow_id == asked.flow)
    if asked.execution is not None:
        found.append(FlowExecution.id == asked.execution)
    if asked.behaviour is Behaviour.SENT and asked.when is not None:
        # Messages have no moment of their own, to be lean: it is when their execution began.
        began = func.coalesce(FlowExecution.started_at, FlowExecution.created_at)
        days = days_of(asked.when.operator, asked.when.value, today_in(time_zone, now))
        found.append(_within(began, days, time_zone))
    return found


def on_list(list_ids: Sequence[int]) -> Condition:
    """Whether the client is on any of the static lists."""
    return found_by(
        select(ONE)
        .select_from(ClientListMember)
        .where(ClientListMember.client_list_id.in_(list_ids), ClientListMember.client_id == Client.id)
        .correlate(Client)
    )


class _Compiler:
    """Holds what conditions depend on besides themselves."""

    def __init__(
        self,
        time_zone: str,
        now: datetime,
        dynamic: Mapping[int, Condition],
        executions: Mapping[MessageCondition, Sequence[int]],
    ) -> None:
        self._time_zone = time_zone
        self._now = now
        self._today = today_in(time_zone, now)
        self._dynamic = dynamic
        self._executions = executions

    def condition(self, node: Node) -> Condition:
        match node:
            case All(nodes):
                return and_(*self._by_cost(nodes))
            case AnyOf(nodes):
                return or_(*self._by_cost(nodes))
            case Not(inner):
                return _not(self.condition(inner))
            case MessageCondition():
                return self._message(node)
            case _:
                return self._field(node)

    def _by_cost(self, nodes: Sequence[Node]) -> list[Condition]:
        return [self.condition(node) for node in sorted(nodes, key=_cost)]

    def _field(self, asked: FieldCondition) -> Condition:
        positive = _COMPLEMENTS.get(asked.operator)
        if positive is not None:
            return _not(self._plain(replace(asked, operator=positive)))
        return self._plain(asked)

    def _plain(self, asked: FieldCondition) -> Condition:
        match asked.shape.kind:
            case Kind.LISTS:
                return self._lists(asked)
            case Kind.MOMENT:
                return self._in_days(getattr(Client, asked.name), asked.operator, asked.value)
            case Kind.DATE:
                return self._date(as_bytes(custom_text(asked)), asked)
            case kind:
                return VALUE_CONDITIONS[kind](asked)

    def _date(self, text: ColumnElement[str], asked: FieldCondition) -> Condition:
        match asked.operator:
            case Operator.IS_SET:
                return text.between(_FIRST_DAY, _LAST_DAY)
            case Operator.ANNIVERSARY_TODAY | Operator.ANNIVERSARY_IN_NEXT_DAYS as operator:
                day = func.substr(text, 6, 5)
                ranges = anniversaries_of(operator, asked.value, self._today)
                return or_(*(day.between(low, high) for low, high in ranges))
            case operator:
                first, last = days_of(operator, asked.value, self._today)
                return text.between(first.isoformat(), last.isoformat())

    def _in_days(self, moment: SQLColumnExpression[Any], operator: Operator, value: Value) -> Condition:
        days = days_of(operator, value, self._today)
        return _within(moment, days, self._time_zone)

    def _lists(self, asked: FieldCondition) -> Condition:
        ids = [each for each in many(asked.value) if isinstance(each, int)]
        if asked.operator is Operator.HAS_ALL:
            return and_(*(self._dynamic.get(each, on_list([each])) for each in ids))
        static = [each for each in ids if each not in self._dynamic]
        found = [on_list(static)] if static else []
        return or_(*found, *(self._dynamic[each] for each in ids if each in self._dynamic))

    def _message(self, asked: MessageCondition) -> Condition:
        if asked.behaviour is Behaviour.SENT:
            return _often_enough(self._sent(asked), Message.id, asked.at_least)
        return _often_enough(self._happened(asked), Event.message_id, asked.at_least)

    def _sent(self, asked: MessageCondition) -> Select[Any]:
        """Messages that were taken, along the ledger's unique key: it begins with client and execution."""
        rows = select(ONE).select_from(Message)
        rows = rows.where(Message.client_id == Client.id, Message.state == MessageState.ACCEPTED)
        return self._of_message(rows, asked)

    def _happened(self, asked: MessageCondition) -> Select[Any]:
        """Events, along their index of client, kind and moment; the ledger is only asked where a filter is about the message."""
        rows = select(ONE).select_from(Event)
        rows = rows.where(Event.client_id == Client.id, Event.kind.in_(TRACES[asked.behaviour]))
        if asked.when is not None:
            rows = rows.where(self._in_days(Event.occurred_at, asked.when.operator, asked.when.value))
        if asked.flow is None and asked.execution is None and asked.channel is None:
            return rows
        return self._of_message(rows.join(Message, Message.id == Event.message_id), asked)

    def _of_message(self, rows: Select[Any], asked: MessageCondition) -> Select[Any]:
        if asked.channel is not None:
            rows = rows.where(Message.channel == asked.channel)
        narrows = narrowing(asked, self._time_zone, self._now)
        if not narrows:
            return rows
        known = self._executions.get(asked)
        if known is not None:
            return rows.where(Message.execution_id.in_(known))
        return rows.join(FlowExecution, FlowExecution.id == Message.execution_id).where(*narrows)


def _often_enough(rows: Select[Any], message_id: SQLColumnExpression[Any], least: int) -> Condition:
    """Whether the rows of a client are about so many different messages."""
    rows = rows.correlate(Client)
    if least == 1:
        return found_by(rows)
    return rows.with_only_columns(func.count(message_id.distinct())).scalar_subquery() >= least


def _not(condition: Condition) -> Condition:
    return is_not_true(condition)


def _within(moment: SQLColumnExpression[Any], days: Days, time_zone: str) -> Condition:
    if days[0] > days[1]:
        return false()
    start, end = moments_of(days, time_zone)
    bounds = [moment >= start] if start is not None else []
    bounds += [moment < end] if end is not None else []
    return and_(true(), *bounds) if bounds else moment.is_not(None)


def _cost(node: Node) -> int:
    match node:
        case All(nodes) | AnyOf(nodes):
            return sum(_cost(each) for each in nodes)
        case Not(inner):
            return _cost(inner)
        case MessageCondition(behaviour=behaviour):
            return _COST_OF_MESSAGES if behaviour is Behaviour.SENT else _COST_OF_EVENTS
        case FieldCondition(custom_key=key, shape=shape):
            return _COST_OF_CUSTOM if key else _COST[shape.kind]


_COMPLEMENTS: Mapping[Operator, Operator] = {
    Operator.IS_NOT: Operator.IS,
    Operator.IS_NOT_SET: Operator.IS_SET,
    Operator.HAS_NONE: Operator.HAS_ANY,
}
