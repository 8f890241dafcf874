"""Rules of dynamic lists: what they name has to be there, and stays for as long as they name it.

Whoever saves a rule, or takes away what a rule may name, holds the gate of the rules until commit. So no two of them can pass each
other: a cycle is closed by whoever comes second, and is refused to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.errors import Invalid
from db.models import ClientList, Flow, FlowExecution, Gate
from db.queries.segments import list_shapes
from db.segments import graph
from db.segments.reading import read_rule
from db.segments.rules import Rule, named_executions, named_flows, named_lists
from db.states import ListKind

RULES_GATE = "list_rules"
NEW = 0
"""In the place of the id of a list that is not stored yet: nothing can name it."""


@dataclass(frozen=True)
class NamedRule:
    """A dynamic list whose rule names what was asked about."""

    list_id: int
    name: str


def hold_rules(session: Session) -> None:
    """Let nobody else save a rule, or take away what one names, until this transaction ends."""
    session.execute(select(Gate.name).where(Gate.name == RULES_GATE).with_for_update()).all()


def check_rule(session: Session, document: Any, *, list_id: int = NEW) -> Rule:
    """The rule that a list is to have, if it can. Holds the gate.

    Raises:
        Invalid: names the part of the rule that is wrong, names what is not there, or closes a cycle.
    """
    hold_rules(session)
    rule = read_rule(document, list_shapes(session))
    _check_names(session, rule)
    _check_lists(session, rule, document, list_id)
    return rule


def check_references(session: Session, rule: Rule) -> None:
    """Raises Invalid for a list, flow or execution that the rule names and that is not there."""
    _check_names(session, rule)


def list_rules_naming_field(session: Session, key: str) -> list[NamedRule]:
    """Dynamic lists whose rules name the custom field. Holds the gate, so that none comes up before this transaction ends."""
    hold_rules(session)
    return [
        NamedRule(row.id, row.name) for row in _dynamic_lists(session) if key in graph.fields_in(row.rule)
    ]


def list_rules_naming_list(session: Session, list_id: int) -> list[NamedRule]:
    """Dynamic lists whose rules name the list. Holds the gate."""
    hold_rules(session)
    return [
        NamedRule(row.id, row.name) for row in _dynamic_lists(session) if list_id in graph.lists_in(row.rule)
    ]


def _dynamic_lists(session: Session) -> list[Any]:
    columns = (ClientList.id, ClientList.name, ClientList.rule)
    return list(
        session.execute(select(*columns).where(ClientList.kind == ListKind.DYNAMIC).order_by(ClientList.id))
    )


def _check_names(session: Session, rule: Rule) -> None:
    _check_ids(session, ClientList.id, named_lists(rule), "client list")
    _check_ids(session, Flow.id, named_flows(rule), "flow")
    _check_ids(session, FlowExecution.id, named_executions(rule), "flow execution")


def _check_ids(
    session: Session, key: InstrumentedAttribute[int], named: Mapping[int, str], thing: str
) -> None:
    if not named:
        return
    found = set(session.scalars(select(key).where(key.in_(named))))
    for each, path in named.items():
        if each not in found:
            raise Invalid(path, f"{thing} {each} does not exist")


def _check_lists(session: Session, rule: Rule, document: Any, list_id: int) -> None:
    """No cycle, and no rule that grows beyond all bounds by the rules of others."""
    rows = _dynamic_lists(session)
    rules = {row.id: row.rule for row in rows} | {list_id: document}
    names = {row.id: row.name for row in rows}
    cycle = graph.find_cycle(rules, list_id)
    if cycle:
        way = " → ".join(f"'{names.get(each, '')}' ({each})" for each in cycle)
        raise Invalid(named_lists(rule)[cycle[1]], f"the list would depend on itself: {way}")
    for each, size in graph.expanded_sizes(rules).items():
        if size > graph.MAX_EXPANDED:
            whose = "the rule" if each == list_id else f"the rule of list '{names[each]}' ({each})"
            raise Invalid(
                "rule", f"{whose} would have {size} conditions with those of the lists it names; "
                f"{graph.MAX_EXPANDED} are possible",
            )  # fmt: skip
