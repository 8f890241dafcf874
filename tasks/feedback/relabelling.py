"""Labels of machines made anew for an execution, after the rule or the list of scanners has changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from db.engine import Database, Session
from db.queries.approvals import insert_approval
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

RELABEL = "relabel"
_IDS_AT_A_TIME = 10_000
_MESSAGES_AT_A_TIME = 500
_TELLING = (*OPENS, *CLICKS, EventKind.DELIVERED)


@dataclass(frozen=True)
class Relabelled:
    """How many events have another label now, how many messages of the ledger are left, and where to go on; None at the end."""

    changed: int
    left: int
    next_cursor: int | None


def relabel_piece(database: Database, execution_id: int, *, after: int, by: str) -> Relabelled:
    """Label the opens and clicks of the next messages behind `after` (0 at first) by the present rule.

    In short transactions in the order of the ledger: it may be cut, and run again. Counts follow in the same transactions.
    `by` is the token of who wants it, kept once an execution.

    Raises:
        NotFound: there is no such execution.
    """
    with database.reading() as session:
        get_execution(session, execution_id)
        first, last = find_range(session, execution_id) or (0, -1)
        start = max(first, after + 1)
        end = min(start + _IDS_AT_A_TIME - 1, last)
        ids = list_engaged(session, execution_id, start, end)
    if after == 0:
        database.run(lambda session: _audit(session, execution_id, by))
    changed = 0
    for place in range(0, len(ids), _MESSAGES_AT_A_TIME):
        changed += database.run(partial(_relabel, message_ids=ids[place : place + _MESSAGES_AT_A_TIME]))
    return Relabelled(changed, max(last - end, 0), end if end < last else None)


def relabel(
    database: Database, execution_id: int, progress: Callable[[float], None] = lambda _: None, *, by: str
) -> int:
    """All of the execution; returns how many events have another label now. `progress` is told the part that is done."""
    changed, cursor, size = 0, 0, 0
    while True:
        piece = relabel_piece(database, execution_id, after=cursor, by=by)
        changed += piece.changed
        if piece.next_cursor is None:
            return changed
        size = size or piece.left + _IDS_AT_A_TIME
        progress(1 - piece.left / size)
        cursor = piece.next_cursor


def _audit(session: Session, execution_id: int, by: str) -> None:
    rule = scanner_rule()
    details = {"scanner_links": rule.links, "scanner_seconds": rule.window.total_seconds()}
    insert_approval(session, RELABEL, approved_by=by, execution_id=execution_id, details=details)


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
