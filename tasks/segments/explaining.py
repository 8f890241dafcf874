"""A rule in plain English. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from db.segments.rules import (
    All,
    AnyOf,
    FieldCondition,
    MessageCondition,
    Node,
    Not,
    Rule,
    Value,
)
from db.segments.words import Behaviour, Kind, Operator

_LISTED = 10
_LABELS = {
    "sms_consent": "SMS consent",
    "suppressed": "suppression",
}


@dataclass(frozen=True)
class Names:
    """What people call the things that a rule names by key or id."""

    fields: Mapping[str, str]
    lists: Mapping[int, str]
    flows: Mapping[int, str]


def explain(rule: Rule, names: Names) -> str:
    """One sentence, e.g. "Clients whose city is 'Cork' or 'Dublin', and who opened a message in the last 30 days"."""
    sentence = f"Clients {_Words(names).of(rule.node, inside=False)}"
    return sentence if rule.time_zone == "UTC" else f"{sentence} (days of {rule.time_zone})"


class _Words:
    def __init__(self, names: Names) -> None:
        self._names = names

    def of(self, node: Node, *, inside: bool = True, negated: bool = False) -> str:
        """What is said of the clients; groups that stand in others are put into brackets."""
        match node:
            case All(nodes) | AnyOf(nodes) if len(nodes) == 1:
                return self.of(nodes[0], inside=inside, negated=negated)
            case All(nodes) | AnyOf(nodes):
                word = ", and " if isinstance(node, All) else ", or "
                text = word.join(self.of(each) for each in nodes)
                if negated:
                    return f"for whom this is not true: ({text})"
                return f"({text})" if inside else text
            case Not(inner):
                return self.of(inner, inside=inside, negated=not negated)
            case MessageCondition():
                return self._message(node, negated)
            case _:
                return self._field(node, negated)

    def _field(self, asked: FieldCondition, negated: bool) -> str:
        operator, negated = _turned(asked.operator, negated)
        match asked.shape.kind:
            case Kind.TAGS if operator is Operator.IS_SET:
                return "who have no tag" if negated else "who have a tag"
            case Kind.TAGS:
                return f"who are {_not(negated)}tagged {_joined(asked, operator)}"
            case Kind.LISTS:
                return f"who are {_not(negated)}on {self._lists(asked, operator)}"
            case Kind.CHANNELS:
                return f"who are {_not(negated)}suppressed on {_joined(asked, operator, quoted=False)}"
            case Kind.MOMENT:
                verb = "created" if asked.name == "created_at" else "changed"
                was = "were not" if negated else "were"
                return f"who {was} {verb} {_days(operator, asked.value)}"
            case kind:
                return f"whose {self._label(asked)} {_said(kind, operator, asked.value, negated)}"

    def _label(self, asked: FieldCondition) -> str:
        if asked.custom_key is not None:
            return self._names.fields.get(asked.custom_key, asked.custom_key)
        return _LABELS.get(asked.name, asked.name.replace("_", " "))

    def _lists(self, asked: FieldCondition, operator: Operator) -> str:
        ids = asked.value if isinstance(asked.value, tuple) else ()
        names = [f"'{self._names.lists.get(each, str(each))}'" for each in ids if isinstance(each, int)]
        word = "the list" if len(names) == 1 else "the lists"
        return f"{word} {_enumerated(names, 'and' if operator is Operator.HAS_ALL else 'or')}"

    def _message(self, asked: MessageCondition, negated: bool) -> str:
        often = "" if asked.at_least == 1 else f"{asked.at_least} or more "
        thing = _THINGS.get(asked.channel.value if asked.channel else "", ("a message", "messages"))
        text = f"{_VERBS[asked.behaviour][negated]} {often}{thing[asked.at_least > 1]}"
        if asked.flow is not None:
            text += f" of the flow '{self._names.flows.get(asked.flow, str(asked.flow))}'"
        if asked.execution is not None:
            text += f" of execution {asked.execution}"
        when = f" {_days(asked.when.operator, asked.when.value)}" if asked.when else ""
        return f"who {text}{when}"


_THINGS = {"email": ("an email", "emails"), "sms": ("an SMS", "SMS")}
_VERBS: Mapping[Behaviour, tuple[str, str]] = {
    Behaviour.SENT: ("were sent", "were not sent"),
    Behaviour.DELIVERED: ("got", "did not get"),
    Behaviour.OPENED: ("opened", "did not open"),
    Behaviour.MACHINE_OPENED: ("have a machine that opened", "have no machine that opened"),
    Behaviour.CLICKED: ("clicked in", "did not click in"),
    Behaviour.BOUNCED: ("bounced", "did not bounce"),
    Behaviour.UNDELIVERED: ("could not be reached by", "were never out of reach of"),
    Behaviour.REPLIED: ("replied to", "did not reply to"),
    Behaviour.COMPLAINED: ("complained about", "did not complain about"),
    Behaviour.UNSUBSCRIBED: ("unsubscribed by", "did not unsubscribe by"),
}
_COMPLEMENTS = {
    Operator.IS_NOT: Operator.IS,
    Operator.IS_NOT_SET: Operator.IS_SET,
    Operator.HAS_NONE: Operator.HAS_ANY,
}
# What is said of a value, and of one of which it is not true.
_PHRASES: Mapping[Operator, tuple[str, str]] = {
    Operator.IS: ("is", "is not"),
    Operator.IN: ("is", "is not"),
    Operator.CONTAINS: ("contains", "does not contain"),
    Operator.BEGINS_WITH: ("begins with", "does not begin with"),
    Operator.ENDS_WITH: ("ends with", "does not end with"),
    Operator.GREATER_THAN: ("is greater than", "is not greater than"),
    Operator.AT_LEAST: ("is at least", "is not at least"),
    Operator.LESS_THAN: ("is less than", "is not less than"),
    Operator.AT_MOST: ("is at most", "is not at most"),
    Operator.BETWEEN: ("is between", "is not between"),
}


def _turned(operator: Operator, negated: bool) -> tuple[Operator, bool]:
    """An operator that says "not" as its opposite, so that two of them are none."""
    positive = _COMPLEMENTS.get(operator)
    return (operator, negated) if positive is None else (positive, not negated)


def _not(negated: bool) -> str:
    return "not " if negated else ""


def _said(kind: Kind, operator: Operator, value: Value, negated: bool) -> str:
    if operator is Operator.IS_SET:
        return "is not known" if negated else "is known"
    if kind is Kind.DATE:
        return f"{'is not' if negated else 'is'} {_days(operator, value)}"
    if kind is Kind.BOOLEAN:
        value = "yes" if value else "no"
    phrase = _PHRASES[operator][negated]
    if operator is Operator.BETWEEN and isinstance(value, tuple):
        return f"{phrase} {_shown(value[0])} and {_shown(value[1])}"
    values = value if isinstance(value, tuple) else (value,)
    quoted = kind in (Kind.TEXT, Kind.CHOICE)
    return f"{phrase} {_enumerated([_shown(each, quoted=quoted) for each in values], 'or')}"


def _joined(asked: FieldCondition, operator: Operator, *, quoted: bool = True) -> str:
    values = asked.value if isinstance(asked.value, tuple) else ()
    word = "and" if operator is Operator.HAS_ALL else "or"
    return _enumerated([_shown(each, quoted=quoted) for each in values], word)


def _days(operator: Operator, value: Value) -> str:
    """When, e.g. "in the last 30 days"."""
    if isinstance(value, tuple):
        return f"from {_shown(value[0])} to {_shown(value[1])}"
    if isinstance(value, date):
        return f"{operator} {_shown(value)}"
    count = value if isinstance(value, int) else 0
    days = "1 day" if count == 1 else f"{count:,} days"
    return {
        Operator.IN_LAST_DAYS: f"in the last {days}" if count else "today",
        Operator.IN_NEXT_DAYS: f"within the next {days}" if count else "today",
        Operator.MORE_THAN_DAYS_AGO: f"more than {days} ago",
        Operator.MORE_THAN_DAYS_AHEAD: f"more than {days} from now",
        Operator.ANNIVERSARY_TODAY: "a day whose anniversary is today",
        Operator.ANNIVERSARY_IN_NEXT_DAYS: f"a day whose anniversary is within the next {days}",
    }[operator]


def _shown(value: object, *, quoted: bool = False) -> str:
    if isinstance(value, date):
        return f"{value.day} {value:%B %Y}"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:,.15g}"
    return f"'{value}'" if quoted else str(value)


def _enumerated(words: Sequence[str], last: str) -> str:
    """As "a, b or c"; of many the first ones and how many more there are."""
    if len(words) > _LISTED:
        words = [*words[:_LISTED], f"{len(words) - _LISTED} more"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"
