"""The words of segment rules, in tables: fields and their kinds, operators and what each needs, limits.

Reader, JSON schema, compiler, explanation and documentation are all made from these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from db.fields import FieldKind, FieldType
from db.states import Channel, Consent

MAX_DEPTH = 8
MAX_CONDITIONS = 100
MAX_VALUES = 1000
MAX_MEMBERS = 100
"""Tags, lists or channels in one condition: each of them is looked for by itself."""

MAX_TEXT = 200
MAX_DAYS = 36_500
MAX_TIMES = 1000
MAX_ID = 2**63 - 1
MAX_NUMBER = 2**53
CUSTOM = "custom."


class Kind(StrEnum):
    """What a field holds, which decides the operators it takes."""

    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    CHOICE = "choice"
    MOMENT = "moment"
    TAGS = "tags"
    LISTS = "lists"
    CHANNELS = "channels"


class Operator(StrEnum):
    IS = "is"
    IS_NOT = "is_not"
    IN = "in"
    CONTAINS = "contains"
    BEGINS_WITH = "begins_with"
    ENDS_WITH = "ends_with"
    GREATER_THAN = "greater_than"
    AT_LEAST = "at_least"
    LESS_THAN = "less_than"
    AT_MOST = "at_most"
    BETWEEN = "between"
    ON = "on"
    BEFORE = "before"
    SINCE = "since"
    AFTER = "after"
    UNTIL = "until"
    IN_LAST_DAYS = "in_last_days"
    IN_NEXT_DAYS = "in_next_days"
    MORE_THAN_DAYS_AGO = "more_than_days_ago"
    MORE_THAN_DAYS_AHEAD = "more_than_days_ahead"
    ANNIVERSARY_TODAY = "anniversary_today"
    ANNIVERSARY_IN_NEXT_DAYS = "anniversary_in_next_days"
    HAS_ANY = "has_any"
    HAS_ALL = "has_all"
    HAS_NONE = "has_none"
    IS_SET = "is_set"
    IS_NOT_SET = "is_not_set"


class Needs(StrEnum):
    """The `value` of an operator: none, one of the field's kind, a list of them, two in order, or a number of days."""

    NOTHING = "nothing"
    ONE = "one"
    MANY = "many"
    PAIR = "pair"
    DAYS = "days"


_EQUALITY = {Operator.IS: Needs.ONE, Operator.IS_NOT: Needs.ONE, Operator.IN: Needs.MANY}
_PRESENCE = {Operator.IS_SET: Needs.NOTHING, Operator.IS_NOT_SET: Needs.NOTHING}
_MEMBERSHIP = {Operator.HAS_ANY: Needs.MANY, Operator.HAS_ALL: Needs.MANY, Operator.HAS_NONE: Needs.MANY}
_PAST = {
    Operator.ON: Needs.ONE,
    Operator.BEFORE: Needs.ONE,
    Operator.SINCE: Needs.ONE,
    Operator.AFTER: Needs.ONE,
    Operator.UNTIL: Needs.ONE,
    Operator.BETWEEN: Needs.PAIR,
    Operator.IN_LAST_DAYS: Needs.DAYS,
    Operator.MORE_THAN_DAYS_AGO: Needs.DAYS,
}
_FUTURE = {
    Operator.IN_NEXT_DAYS: Needs.DAYS,
    Operator.MORE_THAN_DAYS_AHEAD: Needs.DAYS,
    Operator.ANNIVERSARY_TODAY: Needs.NOTHING,
    Operator.ANNIVERSARY_IN_NEXT_DAYS: Needs.DAYS,
}

OPERATORS: Mapping[Kind, Mapping[Operator, Needs]] = {
    Kind.TEXT: {
        **_EQUALITY,
        Operator.CONTAINS: Needs.ONE,
        Operator.BEGINS_WITH: Needs.ONE,
        Operator.ENDS_WITH: Needs.ONE,
        **_PRESENCE,
    },
    Kind.NUMBER: {
        **_EQUALITY,
        Operator.GREATER_THAN: Needs.ONE,
        Operator.AT_LEAST: Needs.ONE,
        Operator.LESS_THAN: Needs.ONE,
        Operator.AT_MOST: Needs.ONE,
        Operator.BETWEEN: Needs.PAIR,
        **_PRESENCE,
    },
    Kind.BOOLEAN: {Operator.IS: Needs.ONE, Operator.IS_NOT: Needs.ONE, **_PRESENCE},
    Kind.DATE: {**_PAST, **_FUTURE, **_PRESENCE},
    Kind.CHOICE: {**_EQUALITY, **_PRESENCE},
    Kind.MOMENT: _PAST,
    Kind.TAGS: {**_MEMBERSHIP, **_PRESENCE},
    Kind.LISTS: _MEMBERSHIP,
    Kind.CHANNELS: _MEMBERSHIP,
}


@dataclass(frozen=True)
class FieldShape:
    """What a rule may ask of a field; `choices` are the words of a choice."""

    kind: Kind
    choices: tuple[str, ...] = ()


_TEXT = FieldShape(Kind.TEXT)
_CONSENT = FieldShape(Kind.CHOICE, tuple(consent.value for consent in Consent))
PROFILE: Mapping[str, FieldShape] = {
    "email": _TEXT,
    "phone": _TEXT,
    "first_name": _TEXT,
    "last_name": _TEXT,
    "external_id": _TEXT,
    "time_zone": _TEXT,
    "locale": _TEXT,
    "email_consent": _CONSENT,
    "sms_consent": _CONSENT,
    "created_at": FieldShape(Kind.MOMENT),
    "updated_at": FieldShape(Kind.MOMENT),
    "tags": FieldShape(Kind.TAGS),
    "lists": FieldShape(Kind.LISTS),
    "suppressed": FieldShape(Kind.CHANNELS),
}
CHANNELS = tuple(channel.value for channel in Channel)
_KINDS: Mapping[FieldKind, Kind] = {kind: Kind(kind.value) for kind in FieldKind}


def most_values(kind: Kind) -> int:
    """How many values a list of them may have."""
    return MAX_MEMBERS if kind in (Kind.TAGS, Kind.LISTS, Kind.CHANNELS) else MAX_VALUES


def shapes_of(custom: Mapping[str, FieldType]) -> dict[str, FieldShape]:
    """All fields that a rule can name: those of the profile, and the custom ones as `custom.<key>`."""
    defined = {CUSTOM + key: FieldShape(_KINDS[each.kind], each.choices) for key, each in custom.items()}
    return {**PROFILE, **defined}


class Behaviour(StrEnum):
    """What happened to a message, on any channel where nothing else is said."""

    SENT = "sent"
    DELIVERED = "delivered"
    OPENED = "opened"
    MACHINE_OPENED = "machine_opened"
    CLICKED = "clicked"
    BOUNCED = "bounced"
    UNDELIVERED = "undelivered"
    REPLIED = "replied"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"


TRACES: Mapping[Behaviour, tuple[str, ...]] = {
    Behaviour.DELIVERED: ("delivered",),
    Behaviour.OPENED: ("open",),
    Behaviour.MACHINE_OPENED: ("machine_open",),
    Behaviour.CLICKED: ("click",),
    Behaviour.BOUNCED: ("bounce",),
    Behaviour.UNDELIVERED: ("failed", "expired", "rejected"),
    Behaviour.REPLIED: ("reply",),
    Behaviour.COMPLAINED: ("spam_report",),
    Behaviour.UNSUBSCRIBED: ("unsubscribe", "group_unsubscribe", "opt_out"),
}
"""The kinds of events (`tasks.providers.events.EventKind`) by which a behaviour is known. All but SENT: that is a message which the
provider accepted, and its moment is when its execution began."""
