"""Labels of machines made anew for an execution, after the rule or the list of scanners has changed."""

from collections.abc import Callable, Mapping, Sequence

from db.engine import Database, Session
from db.queries.events import StoredEvent, list_of_messages, relabel_events
from db.queries.executions import get_execution
from db.queries.feedback import Held, Moves, lock_messages, store_feedback
from db.queries.ledger_ranges import find_range, list_engaged
from db.queries.stats import EVENT_COUNTERS, minute_of
from db.states import ENGAGEMENT
from tasks.feedback.engagement import scanner_rule
from tasks.feedback.labels import CLICKS, OPENS, Click, is_scanner, label_clicks, label_open
from tasks.feedback.meaning import int_of
from tasks.providers.events import EventKind
from tasks.providers.sendgrid_events import is_flagged

_IDS_AT_A_TIME = 20_000
_MESSAGES_AT_A_TIME = 500
_TELLING = (*OPENS, *CLICKS, EventKind.DELIVERED)


def relabel(database: Database, execution_id: int, progress: Callable[[float], None] = lambda _: None) -> int:
    """Label all opens and clicks of the execution by the present rule; returns how many events have another label now.

    In short transactions by ledger order: it may be cut, and run again. Counts follow in the same transactions.

    Raises:
        NotFound: there is no such execution.
    """
    with database.reading() as session:
        get_execution(session, execution_id)
        first, last = find_range(session, execution_id) or (0, -1)
    changed = 0
    for start in range(first, last + 1, _IDS_AT_A_TIME):
        with database.reading() as session:
            ids = list_engaged(session, execution_id, start, min(start + _IDS_AT_A_TIME - 1, last))
        for place in range(0, len(ids), _MESSAGES_AT_A_TIME):
            some = ids[place : place + _MESSAGES_AT_A_TIME]
            changed += database.run(lambda session, some=some: _relabel(session, some))  # type: ignore[misc]
        progress((start + _IDS_AT_A_TIME - first) / (last - first + 1))
    return changed


def _relabel(session: Session, message_ids: Sequence[int]) -> int:
    held = lock_messages(session, message_ids)
    by_message: dict[int, list[StoredEvent]] = {key: [] for key in held.messages}
    for event in list_of_messages(session, message_ids, _TELLING):
        by_message[event.message_id].append(event)
    kinds = {key: _labels(events) for key, events in by_message.items()}
    stored = {event.id: event for events in by_message.values() for event in events}
    changed = {
        key: kind
        for labels in kinds.values()
        for key, kind in labels.items()
        if stored[key].kind != kind.value
    }
    relabel_events(session, {key: kind.value for key, kind in changed.items()})
    store_feedback(session, held, _feedback(held, kinds), _moves(held, stored, changed))
    return len(changed)


def _labels(events: Sequence[StoredEvent]) -> dict[int, EventKind]:
    """The kinds of the opens and clicks of one message. Of somebody who was erased nothing is known that could tell: they stay."""
    known = [each for each in events if each.raw or each.url]
    labels = {each.id: EventKind(each.kind) for each in events if each.kind in (*OPENS, *CLICKS)}
    for each in known:
        if each.kind in OPENS:
            original = EventKind.MACHINE_OPEN if is_flagged(each.raw) else EventKind.OPEN
            labels[each.id] = label_open(original, each.raw)
    clicks = [
        Click(each.id, each.occurred_at, each.url, is_scanner(each.raw))
        for each in known
        if each.kind in CLICKS
    ]
    delivered = [each.occurred_at for each in events if each.kind == EventKind.DELIVERED.value]
    return labels | label_clicks(clicks, delivered, scanner_rule())


def _feedback(held: Held, kinds: Mapping[int, Mapping[int, EventKind]]) -> dict[int, int]:
    after = {}
    for key, message in held.messages.items():
        bits = 0
        for kind in kinds[key].values():
            bits |= int_of(kind)
        after[key] = (message.feedback & ~int(ENGAGEMENT)) | bits
    return after


def _moves(
    held: Held, stored: Mapping[int, StoredEvent], changed: Mapping[int, EventKind]
) -> dict[int, Moves]:
    moves: dict[int, Moves] = {}
    for key, kind in changed.items():
        event = stored[key]
        own = moves.setdefault(held.messages[event.message_id].execution_id, Moves())
        for each, number in ((EventKind(event.kind), -1), (kind, 1)):
            own.stats[EVENT_COUNTERS[each.value]] += number
            own.minutes[minute_of(event.occurred_at), each.value] += number
    return moves
