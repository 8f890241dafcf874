"""Where the stored counts differ from a recount, and where messages differ from what their events say; and how to set it right.

A comparison is only a comparison when both sides are of the same moment: sessions are those of `Database.snapshot`, or of a
transaction of `Database.run_at_one_moment`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Subquery, case, func, literal, or_, select
from sqlalchemy.orm import Session

from db.models import Event, FlowExecution, Message, Stats, StatsMinute
from db.queries.feedback import lock_messages, store_feedback
from db.queries.recount import recount, recount_minutes
from db.queries.stats import (
    ACCEPTED_MINUTE,
    correct_stats,
    get_counts,
    list_minutes,
    minute_of,
    move_minutes,
    move_sendmode_stats,
)
from db.states import Feedback, MessageState

STATS, SMS, MINUTES = "stats", "sendmode_stats", "stats_minutes"
_CLICKED = int(Feedback.CLICKED | Feedback.MACHINE_CLICKED)
_ROWS_AT_A_TIME = 500


@dataclass(frozen=True)
class Difference:
    """A count that is not what it should be. `name` is a column, a reason such as `bounced.technical`, or a minute and a kind."""

    table: str
    name: str
    stored: int
    counted: int


@dataclass(frozen=True)
class WrongFeedback:
    """A message whose feedback is not what its stored events say."""

    message_id: int
    stored: Feedback
    told: Feedback


def list_execution_ids(session: Session) -> Sequence[int]:
    """Executions with a snapshot."""
    return session.scalars(select(Stats.execution_id).order_by(Stats.execution_id)).all()


def is_archived(session: Session, execution_id: int) -> bool:
    """Whether it is over, and has fewer messages than it had: the ledger of old executions may be moved elsewhere, and their counts
    stay (`docs/scaling.md`). There is nothing left to compare them with."""
    intended, state = session.execute(
        select(Stats.intended, FlowExecution.state)
        .join(FlowExecution, FlowExecution.id == Stats.execution_id)
        .where(Stats.execution_id == execution_id)
    ).one()
    stored = session.scalars(
        select(func.count()).select_from(Message).where(Message.execution_id == execution_id)
    ).one()
    return bool(state.is_final and stored < intended)


def list_differences(session: Session, execution_id: int) -> list[Difference]:
    """Counts of the execution that differ from a recount; the session sees one moment.

    Raises:
        NotFound: it does not exist, or has no snapshot yet.
    """
    stored, counted = get_counts(session, execution_id), recount(session, execution_id)
    found = list(_differing(STATS, stored.messages, counted.messages))
    found += _differing(STATS, _flat(stored.reasons), _flat(counted.reasons))
    found += _differing(SMS, stored.sms, counted.sms)
    minutes = list_minutes(session, execution_id)
    accepted = sum(count for (_, kind), count in minutes.items() if kind == ACCEPTED_MINUTE)
    events = {key: count for key, count in minutes.items() if key[1] != ACCEPTED_MINUTE}
    found += _differing(MINUTES, _named(events), _named(recount_minutes(session, execution_id)))
    # Which minute a message was accepted in is nowhere else; how many there were is.
    found += _differing(
        MINUTES,
        {ACCEPTED_MINUTE: accepted},
        {ACCEPTED_MINUTE: counted.messages[MessageState.ACCEPTED.value]},
    )
    return found


def repair_counts(session: Session, execution_id: int) -> list[Difference]:
    """Add to each count what it lacks; returns what differed. To be run by `Database.run_at_one_moment`.

    Adding, and not overwriting: what others add meanwhile is right, and stays. The row of the stats is held, so that nobody repairs
    the same twice; it is read before anything else, since the moment is that of the first SELECT without a lock.
    """
    session.execute(select(Stats.execution_id).where(Stats.execution_id == execution_id).with_for_update())
    found = list_differences(session, execution_id)
    missing: dict[str, Counter[str]] = {STATS: Counter(), SMS: Counter(), MINUTES: Counter()}
    for each in found:
        missing[each.table][each.name] += each.counted - each.stored
    minutes = {_key(session, execution_id, name): delta for name, delta in missing[MINUTES].items()}
    correct_stats(session, execution_id, missing[STATS])
    move_sendmode_stats(session, execution_id, missing[SMS])
    keys = sorted(minutes)
    for start in range(0, len(keys), _ROWS_AT_A_TIME):
        some = keys[start : start + _ROWS_AT_A_TIME]
        move_minutes(session, execution_id, {key: minutes[key] for key in some})
    return found


def list_wrong_feedback(
    session: Session, execution_id: int, bits: Mapping[str, Feedback], *, first: int, last: int
) -> list[WrongFeedback]:
    """Messages with ids from `first` to `last` whose feedback is not what their events say. `bits` are by kind of event.

    Of people who were erased only what is missing: what they say by a link of ours leaves no event any more.
    """
    told = _told(bits, Event.message_id.between(first, last))
    said = func.coalesce(told.c.bits, 0)
    is_more = Message.feedback.op("|")(said) != Message.feedback
    rows = session.execute(
        select(Message.id, Message.feedback, said)
        .outerjoin(told, told.c.message_id == Message.id)
        .where(
            Message.id.between(first, last),
            # As a sum it offers no index; see `open_messages`.
            Message.execution_id + 0 == execution_id,
            Message.feedback != said,
            or_(Message.address.is_not(None), is_more),
        )
        .order_by(Message.id)
    )
    return [WrongFeedback(key, Feedback(stored), Feedback(int(bits_))) for key, stored, bits_ in rows]


def repair_feedback(session: Session, message_ids: Collection[int], bits: Mapping[str, Feedback]) -> None:
    """Give messages the feedback that their events say, and move the stats by it.

    Bits that no event explains stay: that something was reported once is not undone. Who clicked is told from the events alone.
    """
    held = lock_messages(session, message_ids)
    told = _told(bits, Event.message_id.in_(list(message_ids)))
    said = {key: int(value) for key, value in session.execute(select(told.c.message_id, told.c.bits))}
    after = {}
    for key, message in held.messages.items():
        own = said.get(key, 0)
        after[key] = (message.feedback & ~_CLICKED if own & _CLICKED else message.feedback) | own
    store_feedback(session, held, after)


def _told(bits: Mapping[str, Feedback], which: ColumnElement[bool]) -> Subquery:
    """By message the union of the bits of its events."""
    union: ColumnElement[int] = literal(0)
    for bit in sorted(set(bits.values())):
        kinds = [kind for kind, own in bits.items() if own == bit]
        union = union + func.max(case((Event.kind.in_(kinds), int(bit)), else_=0))
    return (
        select(Event.message_id.label("message_id"), union.label("bits"))
        .where(which)
        .group_by(Event.message_id)
        .subquery("told")
    )


def _key(session: Session, execution_id: int, name: str) -> tuple[datetime, str]:
    """The minute and the kind of a name. What was accepted in a minute that nobody knows is put down to the one with most of it,
    or to the beginning."""
    moment, _, kind = name.rpartition(" ")
    if moment:
        return datetime.fromisoformat(moment), kind
    best = session.scalars(
        select(StatsMinute.minute)
        .where(StatsMinute.execution_id == execution_id, StatsMinute.kind == ACCEPTED_MINUTE)
        .order_by(StatsMinute.count.desc(), StatsMinute.minute)
        .limit(1)
    ).one_or_none()
    if best is None:
        began = select(FlowExecution.created_at).where(FlowExecution.id == execution_id)
        best = minute_of(session.scalars(began).one())
    return best, kind


def _named(minutes: Mapping[tuple[datetime, str], int]) -> dict[str, int]:
    return {f"{minute.isoformat()} {kind}": count for (minute, kind), count in minutes.items()}


def _flat(reasons: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {
        f"{breakdown}.{reason}": count for breakdown, own in reasons.items() for reason, count in own.items()
    }


def _differing(table: str, stored: Mapping[str, int], counted: Mapping[str, int]) -> Iterator[Difference]:
    for name in sorted(stored.keys() | counted.keys()):
        pair = stored.get(name, 0), counted.get(name, 0)
        if pair[0] != pair[1]:
            yield Difference(table, name, *pair)
