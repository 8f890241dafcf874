"""A small world of clients with everything that rules ask about, rules at random, and who is chosen by them, said naively."""

import random
from calendar import isleap
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from sqlalchemy.orm import Session

from db.fields import FieldKind
from db.models import (
    Client,
    ClientList,
    ClientListMember,
    CustomField,
    Event,
    Flow,
    FlowExecution,
    Message,
    Unsubscribed,
)
from db.segments.texts import fold
from db.states import Channel, Consent, ExecutionState, ListKind, MessageState, SuppressionReason

NOW = datetime(2026, 2, 27, 23, 30, tzinfo=UTC)
"""In Dublin it is still the 27th, in Auckland the 28th, on which the 29th is kept in this year."""

TEXTS = ["Cork", "cORK", "cork ", " cork", "Dún Laoghaire", "DÚN LAOGHAIRE", "100%", "1000", "a_b", "axb", "a/b",
         "a\\b", "O'Neill", 'say "hi"', "😀 smile", "İzmir", "Straße", "ΣΊΣΥΦΟΣ", "Ж", "!", "null", "true"]  # fmt: skip
NUMBERS = [0, 1, -1, 2.5, 10, 9, 1e6, 2**53, -0.5]
DAYS = [date(1984, 2, 29), date(1990, 2, 28), date(1990, 3, 1), date(2026, 2, 26), date(2026, 2, 27), date(2026, 2, 28),
        date(2026, 3, 1), date(2026, 3, 6), date(2025, 12, 31), date(2026, 1, 1), date(9999, 12, 31), date(1000, 1, 1),
        date(2026, 1, 28), date(2026, 1, 29), date(2000, 2, 27)]  # fmt: skip
TAGS = ["vip", "VIP", "café", "new client", 'q"t', "100%", "vi"]
CHOICES = ["free", "Pro", "pro"]
ZONES = ["UTC", "Europe/Dublin", "Pacific/Auckland", "America/New_York"]
CUSTOM = {
    "city": FieldKind.TEXT,
    "2nd_visits": FieldKind.NUMBER,
    "member": FieldKind.BOOLEAN,
    "birthday": FieldKind.DATE,
    "plan": FieldKind.CHOICE,
}
KINDS = {
    **dict.fromkeys(("email", "phone", "first_name", "last_name", "external_id", "time_zone", "locale"), "text"),
    **dict.fromkeys(("email_consent", "sms_consent"), "choice"),
    **dict.fromkeys(("created_at", "updated_at"), "moment"),
    "tags": "tags",
    "lists": "lists",
    "suppressed": "channels",
    **{f"custom.{key}": kind.value for key, kind in CUSTOM.items()},
}  # fmt: skip
BEHAVIOURS = {
    "delivered": {"delivered"},
    "opened": {"open"},
    "machine_opened": {"machine_open"},
    "clicked": {"click"},
    "bounced": {"bounce"},
    "undelivered": {"failed", "expired", "rejected"},
    "replied": {"reply"},
    "complained": {"spam_report"},
    "unsubscribed": {"unsubscribe", "group_unsubscribe", "opt_out"},
}


@dataclass
class Sent:
    """A message with what is known about it."""

    flow: int
    execution: int
    channel: str
    began: datetime
    accepted: bool
    events: list[tuple[str, datetime]]


@dataclass
class Person:
    id: int
    values: dict[str, Any]
    lists: set[int] = field(default_factory=set)
    suppressed: set[str] = field(default_factory=set)
    sent: list[Sent] = field(default_factory=list)


@dataclass
class World:
    people: list[Person]
    static: list[int]
    dynamic: dict[int, dict[str, Any]]
    flows: list[int]
    executions: list[int]

    def chosen(self, rule: dict[str, Any]) -> list[int]:
        """The ids of those whom the rule chooses at NOW, in their order."""
        return [person.id for person in self.people if Oracle(self, rule).chooses(person)]


def make_world(session: Session, *, seed: int = 1, people: int = 60) -> World:
    """A world in the database of the session, the same one for the same seed."""
    chance = random.Random(seed)
    session.add_all(
        CustomField(key=key, label=key, kind=kind, choices=CHOICES if kind is FieldKind.CHOICE else [])
        for key, kind in CUSTOM.items()
    )
    static = [ClientList(name=f"Static {number}") for number in range(3)]
    session.add_all(static)
    session.flush()
    rule = {"any": [
        {"field": "lists", "operator": "has_any", "value": [static[0].id]},
        {"field": "custom.birthday", "operator": "is_set"},
    ]}  # fmt: skip
    inner = ClientList(name="Dynamic 1", kind=ListKind.DYNAMIC, rule=rule)
    session.add(inner)
    session.flush()
    outer_rule = {
        "time_zone": "Pacific/Auckland",
        "all": [
            {"not": {"field": "lists", "operator": "has_any", "value": [inner.id]}},
            {"field": "created_at", "operator": "in_last_days", "value": 30},
        ],
    }
    outer = ClientList(name="Dynamic 2", kind=ListKind.DYNAMIC, rule=outer_rule)
    flows = [Flow(name=f"Flow {number}") for number in range(2)]
    session.add_all([outer, *flows])
    session.flush()
    executions = [_execution(chance, flow.id, number) for flow in flows for number in range(2)]
    session.add_all(executions)
    session.flush()
    world = World(
        [],
        [each.id for each in static],
        {inner.id: rule, outer.id: outer_rule},
        [flow.id for flow in flows],
        [execution.id for execution in executions],
    )
    for number in range(people):
        world.people.append(_person(session, chance, number, world, executions))
    session.flush()
    return world


def _execution(chance: random.Random, flow_id: int, number: int) -> FlowExecution:
    return FlowExecution(
        uid=f"u{flow_id}x{number}",
        flow_id=flow_id,
        state=ExecutionState.COMPLETED,
        created_at=_moment(chance),
        started_at=chance.choice([None, _moment(chance)]),
    )


def _person(
    session: Session, chance: random.Random, number: int, world: World, executions: list[FlowExecution]
) -> Person:
    email = chance.choice([None, f"Client{number}@Example.com".lower(), f"c{number}_x%@shop.ie"])
    phone = chance.choice([None, f"+35387{number:07d}"])
    if not email and not phone:
        phone = f"+35386{number:07d}"
    custom = {
        "city": chance.choice([None, "", *TEXTS]),
        "2nd_visits": chance.choice([None, *NUMBERS]),
        "member": chance.choice([None, True, False]),
        "birthday": chance.choice([None, *(day.isoformat() for day in DAYS)]),
        "plan": chance.choice([None, *CHOICES]),
    }
    values: dict[str, Any] = {
        "email": email,
        "phone": phone,
        "first_name": chance.choice(["", *TEXTS]),
        "last_name": chance.choice(["", *TEXTS]),
        "external_id": chance.choice([None, *TEXTS]),
        "time_zone": chance.choice([None, "Europe/Dublin", "europe/dublin"]),
        "locale": chance.choice([None, "en-IE", "en-ie", "fr"]),
        "email_consent": chance.choice(list(Consent)),
        "sms_consent": chance.choice(list(Consent)),
        "created_at": _moment(chance),
        "updated_at": _moment(chance),
        "tags": chance.sample(TAGS, chance.randrange(3)),
    }
    kept = {key: value for key, value in custom.items() if value is not None}
    client = Client(**values, identity_key=email or phone, custom_fields=kept)
    session.add(client)
    session.flush()
    person = Person(client.id, {**values, **{f"custom.{key}": value for key, value in custom.items()}})
    for list_id in chance.sample(world.static, chance.randrange(3)):
        session.add(ClientListMember(client_list_id=list_id, client_id=client.id))
        person.lists.add(list_id)
    for channel, address in ((Channel.EMAIL, email), (Channel.SMS, phone)):
        if address:
            _suppress(session, chance, channel, address, person)
    for execution in chance.sample(executions, chance.randrange(len(executions) + 1)):
        person.sent.append(_message(session, chance, execution, client.id))
    return person


def _suppress(
    session: Session, chance: random.Random, channel: Channel, address: str, person: Person
) -> None:
    scope, active = chance.choice([(None, True), (None, True), (0, True), (0, False), (7, True)])
    if scope is None:
        return
    reason = SuppressionReason.MANUAL
    session.add(
        Unsubscribed(
            channel=channel, address=address, scope=scope, reason=reason, active=active, effective_at=NOW, source="t"
        )
    )  # fmt: skip
    if scope == 0 and active:
        person.suppressed.add(channel.value)


def _message(session: Session, chance: random.Random, execution: FlowExecution, client_id: int) -> Sent:
    channel = chance.choice(list(Channel))
    state = chance.choice([MessageState.ACCEPTED, MessageState.ACCEPTED, MessageState.EXCLUDED])
    message = Message(
        execution_id=execution.id, step_id=1, client_id=client_id, channel=channel, state=state, feedback=0
    )
    session.add(message)
    session.flush()
    events: list[tuple[str, datetime]] = []
    for behaviour in chance.sample(sorted(BEHAVIOURS), chance.randrange(5)):
        kinds = sorted(BEHAVIOURS[behaviour])
        events += [(chance.choice(kinds), _moment(chance)) for _ in range(chance.randrange(1, 3))]
    for kind, moment in events:
        session.add(
            Event(fingerprint=chance.randbytes(32), provider="test", kind=kind, message_id=message.id, client_id=client_id,
                  occurred_at=moment, raw={})
        )  # fmt: skip
    began = execution.started_at or execution.created_at
    accepted = state is MessageState.ACCEPTED
    return Sent(execution.flow_id, execution.id, channel.value, began, accepted, events)


def _moment(chance: random.Random) -> datetime:
    """Near a midnight of one of our zones, or anywhere in the last 90 days."""
    day = (NOW - timedelta(days=chance.choice([0, 1, 2, 29, 30, 31, 60, chance.randrange(90)]))).date()
    zone = ZoneInfo(chance.choice(ZONES))
    begin = datetime.combine(day, time.min, zone).astimezone(UTC)
    return begin + timedelta(microseconds=chance.choice([-1, 0, 1, chance.randrange(86_400_000_000)]))


class Oracle:
    """Says who is chosen by reading the rule's JSON, condition by condition, person by person."""

    def __init__(self, world: World, rule: dict[str, Any]) -> None:
        self._world = world
        self._rule = rule
        self._zone = ZoneInfo(rule.get("time_zone", "UTC"))
        self._today = NOW.astimezone(self._zone).date()

    def chooses(self, person: Person) -> bool:
        return self._node(self._rule, person)

    def _node(self, node: dict[str, Any], person: Person) -> bool:
        if "all" in node:
            return all(self._node(each, person) for each in node["all"])
        if "any" in node:
            return any(self._node(each, person) for each in node["any"])
        if "not" in node:
            return not self._node(node["not"], person)
        return self._message(node, person) if "message" in node else self._field(node, person)

    def _field(self, asked: dict[str, Any], person: Person) -> bool:
        name, operator, value = asked["field"], asked["operator"], asked.get("value")
        match KINDS[name]:
            case "tags":
                return _set(operator, set(person.values["tags"]), value)
            case "channels":
                return _set(operator, person.suppressed, value)
            case "lists":
                return _set(operator, person.lists | self._dynamic(person, value), value)
            case "date":
                stored = person.values[name]
                day = None if stored is None else date.fromisoformat(stored)
                return self._day(operator, day, value)
            case "moment":
                return self._day(operator, person.values[name].astimezone(self._zone).date(), value)
            case kind:
                return _plain(kind, operator, person.values[name], value)

    def _dynamic(self, person: Person, ids: Any) -> set[int]:
        rules = {list_id: self._world.dynamic[list_id] for list_id in ids if list_id in self._world.dynamic}
        return {list_id for list_id, rule in rules.items() if Oracle(self._world, rule).chooses(person)}

    def _message(self, asked: dict[str, Any], person: Person) -> bool:
        least: int = asked.get("at_least", 1)
        return sum(self._is_meant(asked, each) for each in person.sent) >= least

    def _is_meant(self, asked: dict[str, Any], sent: Sent) -> bool:
        for key in ("flow", "execution", "channel"):
            if key in asked and asked[key] != getattr(sent, key):
                return False
        when = asked.get("when")
        if asked["message"] == "sent":
            return sent.accepted and (when is None or self._then(when, sent.began))
        moments = [moment for kind, moment in sent.events if kind in BEHAVIOURS[asked["message"]]]
        return any(when is None or self._then(when, moment) for moment in moments)

    def _then(self, when: dict[str, Any], moment: datetime) -> bool:
        return self._day(when["operator"], moment.astimezone(self._zone).date(), when["value"])

    def _day(self, operator: str, day: date | None, value: Any) -> bool:
        if operator in ("is_set", "is_not_set"):
            return (day is not None) == (operator == "is_set")
        if day is None:
            return False
        ahead = (day - self._today).days
        match operator:
            case "between":
                return bool(value[0] <= day.isoformat() <= value[1])
            case "in_last_days":
                return bool(-value <= ahead <= 0)
            case "in_next_days":
                return bool(0 <= ahead <= value)
            case "more_than_days_ago":
                return bool(ahead < -value)
            case "more_than_days_ahead":
                return bool(ahead > value)
            case "anniversary_today":
                return _kept_on(day, self._today)
            case "anniversary_in_next_days":
                return any(_kept_on(day, self._today + timedelta(days=n)) for n in range(min(value, 400) + 1))
        other = date.fromisoformat(value)
        return {"on": day == other, "before": day < other, "since": day >= other, "after": day > other,
                "until": day <= other}[operator]  # fmt: skip


def _kept_on(day: date, today: date) -> bool:
    if (day.month, day.day) == (2, 29) and not isleap(today.year):
        return (today.month, today.day) == (2, 28)
    return (day.month, day.day) == (today.month, today.day)


def _set(operator: str, has: set[Any], value: Any) -> bool:
    match operator:
        case "has_any":
            return bool(has & set(value))
        case "has_all":
            return has >= set(value)
        case "has_none":
            return not has & set(value)
    return bool(has) == (operator == "is_set")


def _plain(kind: str, operator: str, stored: Any, value: Any) -> bool:  # noqa: C901 - one line an operator
    is_set = stored is not None and stored != ""
    if operator in ("is_set", "is_not_set"):
        return is_set == (operator == "is_set")
    if operator == "is_not":
        return not _plain(kind, "is", stored, value)
    if not is_set:
        return False
    if kind == "text":
        stored, value = fold(stored), [fold(v) for v in value] if isinstance(value, list) else fold(value)
    match operator:
        case "is":
            return bool(stored == value)
        case "in":
            return stored in value
        case "contains":
            return value in stored
        case "begins_with":
            return bool(stored.startswith(value))
        case "ends_with":
            return bool(stored.endswith(value))
        case "between":
            return bool(value[0] <= stored <= value[1])
    return bool({"greater_than": stored > value, "at_least": stored >= value, "less_than": stored < value,
                 "at_most": stored <= value}[operator])  # fmt: skip


_PAST = ["on", "before", "since", "after", "until", "between", "in_last_days", "more_than_days_ago"]
_SETS = ["has_any", "has_all", "has_none"]
_SET = ["is_set", "is_not_set"]
OPERATORS = {
    "text": ["is", "is_not", "in", "contains", "begins_with", "ends_with", *_SET],
    "number": ["is", "is_not", "in", "greater_than", "at_least", "less_than", "at_most", "between", *_SET],
    "boolean": ["is", "is_not", *_SET],
    "choice": ["is", "is_not", "in", *_SET],
    "date": [*_PAST, "in_next_days", "more_than_days_ahead", "anniversary_today", "anniversary_in_next_days", *_SET],
    "moment": _PAST,
    "tags": [*_SETS, *_SET],
    "lists": _SETS,
    "channels": _SETS,
}  # fmt: skip


def rules(world: World) -> st.SearchStrategy[dict[str, Any]]:
    """Rules that the reader takes, about what there is in the world."""
    leaf = st.one_of(
        st.sampled_from(sorted(KINDS)).flatmap(lambda name: _conditions(name, world)), _messages(world)
    )
    tree = st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(lambda nodes: {"all": nodes}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda nodes: {"any": nodes}, st.lists(inner, min_size=1, max_size=3)),
            st.builds(lambda node: {"not": node}, inner),
        ),
        max_leaves=5,
    )
    zones = st.one_of(st.just({}), st.builds(lambda zone: {"time_zone": zone}, st.sampled_from(ZONES)))
    return st.builds(lambda zone, node: {**zone, **node}, zones, tree)


def _conditions(name: str, world: World) -> st.SearchStrategy[dict[str, Any]]:
    kind = KINDS[name]
    return st.sampled_from(OPERATORS[kind]).flatmap(
        lambda operator: st.builds(
            lambda value: {"field": name, "operator": operator, **value},
            _values(_scalars(name, kind, world), operator, kind),
        )
    )


def _scalars(name: str, kind: str, world: World) -> st.SearchStrategy[Any]:
    match kind:
        case "text":
            return st.sampled_from([*TEXTS, "o", "R", "example.COM", "@", "+35387", "en", "europe/Dublin"])
        case "number":
            return st.sampled_from(NUMBERS)
        case "boolean":
            return st.booleans()
        case "choice":
            return st.sampled_from(CHOICES if name.startswith("custom") else [c.value for c in Consent])
        case "tags":
            return st.sampled_from([*TAGS, "unknown"])
        case "lists":
            return st.sampled_from([*world.static, *world.dynamic])
        case "channels":
            return st.sampled_from([channel.value for channel in Channel])
    return st.sampled_from([day.isoformat() for day in DAYS])


def _values(scalars: st.SearchStrategy[Any], operator: str, kind: str) -> st.SearchStrategy[dict[str, Any]]:
    if operator in ("is_set", "is_not_set", "anniversary_today"):
        return st.just({})
    if operator == "in" or operator.startswith("has_"):
        values: st.SearchStrategy[Any] = st.lists(scalars, min_size=1, max_size=3)
    elif operator == "between":
        values = st.tuples(scalars, scalars).map(sorted)
    elif "days" in operator:
        values = st.sampled_from([0, 1, 2, 7, 29, 30, 60, 364, 365, 36_500])
    else:
        values = scalars
    return values.map(lambda value: {"value": value})


def _messages(world: World) -> st.SearchStrategy[dict[str, Any]]:
    when = st.sampled_from(_PAST).flatmap(
        lambda operator: st.builds(
            lambda value: {"operator": operator, **value},
            _values(st.sampled_from([day.isoformat() for day in DAYS]), operator, "moment"),
        )
    )
    return st.fixed_dictionaries(
        {"message": st.sampled_from(["sent", *BEHAVIOURS])},
        optional={
            "when": when,
            "at_least": st.integers(1, 3),
            "flow": st.sampled_from(world.flows),
            "execution": st.sampled_from(world.executions),
            "channel": st.sampled_from([channel.value for channel in Channel]),
        },
    )


def a_condition(chance: random.Random, name: str, operator: str, world: World) -> dict[str, Any]:
    """A condition on the field with this operator, with values as they come."""
    kind = KINDS[name]
    pools: dict[str, list[Any]] = {
        "text": [*TEXTS, "o", "client1", "EXAMPLE.com", "+35387", "en-IE", "europe/dublin", "@"],
        "number": NUMBERS,
        "boolean": [True, False],
        "choice": CHOICES if name.startswith("custom") else [consent.value for consent in Consent],
        "tags": [*TAGS, "unknown"],
        "lists": [*world.static, *world.dynamic],
        "channels": [channel.value for channel in Channel],
    }
    pool = pools.get(kind, [day.isoformat() for day in DAYS])
    asked: dict[str, Any] = {"field": name, "operator": operator}
    if operator in ("is_set", "is_not_set", "anniversary_today"):
        return asked
    if operator == "between":
        return asked | {"value": sorted(chance.sample(pool, 2))}
    if operator == "in" or operator.startswith("has_"):
        return asked | {"value": chance.sample(pool, min(len(pool), chance.randint(1, 3)))}
    if "days" in operator:
        return asked | {"value": chance.choice([0, 1, 2, 7, 30, 364, 365, 36_500])}
    return asked | {"value": chance.choice(pool)}
