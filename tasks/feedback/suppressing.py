"""What events say about addresses, committed before anything else of them.

In a short transaction of its own: it holds the gate alone, and nobody may begin to send meanwhile. Saying it again changes
nothing, so a death before the events themselves are applied loses nothing and does nothing twice.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from db.engine import Database, Session
from db.queries.events import list_known
from db.queries.soft_bounces import SoftBounce, list_lifted, list_soft_bounces
from db.queries.suppressions import SuppressionChange, apply_suppressions, hold_gate
from db.states import Channel, SuppressionReason
from settings import get_settings
from tasks.feedback.erased import mark_erased
from tasks.feedback.incoming import Incoming, Parsed
from tasks.feedback.matching import match
from tasks.feedback.meaning import is_soft, wish_of
from tasks.providers.events import EventKind


def suppress(database: Database, parsed: Parsed) -> None:
    """Suppress and lift what these events say."""
    telling = [each for each in parsed.events if _tells(each)]
    if telling:
        database.run(lambda session: _suppress(session, telling))


def suppress_bounced(database: Database, parsed: Parsed) -> None:
    """Look at soft bounces once more when they are stored: of two that are applied at the same moment, neither saw the other."""
    soft = [each for each in parsed.events if is_soft(each.event.kind, each.event.classification)]
    if not soft:
        return
    with database.reading() as session:
        if not _soft_bounces(session, [each for each in soft if not each.is_erased]):
            return
    database.run(lambda session: _suppress(session, soft))


def _tells(each: Incoming) -> bool:
    event = each.event
    return wish_of(event.kind, event.classification) is not None or is_soft(event.kind, event.classification)


def _suppress(session: Session, telling: Sequence[Incoming]) -> None:
    hold_gate(session, alone=True)  # Behind it nobody is erased meanwhile.
    match(session, telling)
    mark_erased(session, Parsed(list(telling)))
    copies = list_known(session, [each.fingerprint for each in telling if each.event.is_report])
    about = [
        each
        for each in telling
        # A copy of a report says when it came again, and nothing else that is new.
        if not each.is_erased and each.address and each.fingerprint not in copies
    ]
    changes = [change for each in about if (change := _change(each)) is not None]
    apply_suppressions(session, [*changes, *_soft_bounces(session, about)])


def _change(each: Incoming) -> SuppressionChange | None:
    event = each.event
    wish = wish_of(event.kind, event.classification)
    if wish is None or not each.address:
        return None
    return SuppressionChange(
        channel=each.channel,
        address=each.address,
        reason=wish.reason,
        effective_at=event.occurred_at,
        source=f"{event.provider} {event.kind}",
        active=wish.active,
        evidence=event.reason or event.classification,
        is_said=wish.is_said,
    )


def _soft_bounces(session: Session, about: Sequence[Incoming]) -> list[SuppressionChange]:
    """Addresses whose soft bounces, stored ones and these, have become too many within the window since they were lifted."""
    settings = get_settings()
    new = {
        SoftBounce(each.address, each.event.occurred_at, each.message.id): each
        for each in about
        if each.message is not None and each.address and is_soft(each.event.kind, each.event.classification)
    }
    if not new:
        return []
    stored = list_soft_bounces(session, {each.message.client_id for each in new.values() if each.message})
    lifted = list_lifted(session, {bounce.address for bounce in new})
    bounces: dict[str, set[tuple[datetime, int]]] = {bounce.address: set() for bounce in new}
    for address, at, message_id in {*stored, *new}:
        if address in bounces and (address not in lifted or at > lifted[address]):
            bounces[address].add((at, message_id))
    window = timedelta(days=settings.soft_bounce_days)
    return [
        SuppressionChange(
            channel=Channel.EMAIL,
            address=address,
            reason=SuppressionReason.SOFT_BOUNCES,
            effective_at=last,
            source=f"sendgrid {EventKind.BLOCKED}",
            evidence=f"{settings.soft_bounces} soft bounces within {settings.soft_bounce_days} days",
            is_said=False,
        )
        for address, found in bounces.items()
        if (last := too_many(found, settings.soft_bounces, window)) is not None
    ]


def too_many(bounces: Iterable[tuple[datetime, int]], limit: int, window: timedelta) -> datetime | None:
    """The last moment by which `limit` messages had bounced within the window before it, or None.

    `bounces` are (moment, message). More of them never make it earlier, so the order in which they become known does not matter.
    """
    recent: deque[tuple[datetime, int]] = deque()
    last = None
    for bounce in sorted(bounces):
        recent.append(bounce)
        while bounce[0] - recent[0][0] > window:
            recent.popleft()
        if len({message_id for _, message_id in recent}) >= limit:
            last = bounce[0]
    return last
