"""What became of an execution's emails by the domain of their addresses, counted from the ledger when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from db.models import Message
from db.states import Channel, Feedback, MessageState

_STATES = (MessageState.EXCLUDED, MessageState.ACCEPTED)
_BITS = (
    Feedback.DELIVERED,
    Feedback.DEFERRED,
    Feedback.BOUNCED,
    Feedback.BLOCKED,
    Feedback.DROPPED,
    Feedback.OPENED,
    Feedback.CLICKED,
    Feedback.COMPLAINED,
    Feedback.UNSUBSCRIBED,
)
COUNTS: tuple[str, ...] = (
    "intended",
    *(state.value for state in _STATES),
    *(bit.name.lower() for bit in _BITS if bit.name),
)
"""The counts of a domain, in the order of a message's life. They mean what they mean in `stats`."""


@dataclass(frozen=True)
class Domain:
    """The messages to addresses of one domain, or of several: `domain` is None then."""

    domain: str | None
    counts: dict[str, int]


@dataclass(frozen=True)
class Domains:
    """The domains with most messages; `rest` are all others together, and there are `rest_count` of them."""

    items: Sequence[Domain]
    rest: Domain
    rest_count: int


def list_domains(session: Session, execution_id: int, *, limit: int) -> Domains:
    """One pass over the ledger of the execution. Messages without an address belong to no domain."""
    domain: Any = func.lower(func.substr(Message.address, func.instr(Message.address, "@") + 1))
    grouped = (
        select(domain.label("domain"), *(count.label(name) for name, count in _counts().items()))
        .where(
            Message.execution_id == execution_id,
            Message.channel == Channel.EMAIL,
            Message.address.is_not(None),
        )
        .group_by(domain)
        .subquery("grouped")
    )
    # Of all domains, though only the first are read: the sums are taken before the limit.
    sums = [func.sum(grouped.c[name]).over() for name in COUNTS]
    rows = session.execute(
        select(grouped.c.domain, *(grouped.c[name] for name in COUNTS), func.count().over(), *sums)
        .order_by(grouped.c.intended.desc(), grouped.c.domain)
        .limit(limit)
    ).all()
    items = [Domain(row[0], _named(row[1:])) for row in rows]
    if not rows:
        return Domains([], Domain(None, dict.fromkeys(COUNTS, 0)), 0)
    total = _named(rows[0][2 + len(COUNTS) :])
    rest = {name: total[name] - sum(each.counts[name] for each in items) for name in COUNTS}
    return Domains(items, Domain(None, rest), int(rows[0][1 + len(COUNTS)]) - len(items))


def _counts() -> dict[str, ColumnElement[Any]]:
    columns: dict[str, ColumnElement[Any]] = {"intended": func.count()}
    for state in _STATES:
        columns[state.value] = func.sum(case((Message.state == state, 1), else_=0))
    for bit in _BITS:
        has: ColumnElement[Any] = Message.feedback.op("&")(int(bit)) != 0
        columns[(bit.name or "").lower()] = func.sum(case((has, 1), else_=0))
    return columns


def _named(values: Sequence[Any]) -> dict[str, int]:
    return {name: int(value) for name, value in zip(COUNTS, values, strict=False)}
