"""What the owner of an address says by a link of ours: one click, or ticks on the preference page.

Everything is committed before the answer, behind the gate: no batch that begins after it has the address.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from db.engine import Database, Session
from db.errors import NotFound
from db.models.suppressions import EVERYWHERE
from db.queries.feedback import KnownMessage, find_messages
from db.queries.preferences import (
    OWN_WORDS,
    Owner,
    Topic,
    get_owner,
    list_own_words,
    list_suppressed_scopes,
)
from db.queries.suppressions import SuppressionChange, apply_suppressions, find_suppression, hold_gate
from db.states import Channel, SuppressionReason, UnsubscribeScope
from tasks.feedback.apply import record_unsubscribe
from tasks.feedback.unsubscribe_links import Reference

LINK = "unsubscribe link"
PAGE = "preference page"


@dataclass(frozen=True)
class TopicChoice:
    """A topic, and whether its messages are wanted."""

    topic: Topic
    is_wanted: bool


@dataclass(frozen=True)
class ChannelChoice:
    """A channel of the owner. `is_wanted` unless they said no; `is_blocked` where something else keeps us from writing, which
    they cannot lift here: a bounce, a complaint."""

    channel: Channel
    address: str
    is_wanted: bool
    is_blocked: bool


@dataclass(frozen=True)
class Preferences:
    """What the page shows."""

    channels: list[ChannelChoice]
    topics: list[TopicChoice]


@dataclass(frozen=True)
class Wishes:
    """What was ticked: channels that may be used, and flows that are wanted."""

    channels: Collection[Channel]
    flow_ids: Collection[int]


def read_preferences(database: Database, reference: Reference) -> Preferences:
    """Raises NotFound: the message does not exist (any more)."""
    with database.reading() as session:
        message = _message(session, reference)
        return _preferences(session, message, get_owner(session, message))


def unsubscribe(database: Database, reference: Reference) -> None:
    """One click: suppress the address a message went to, everywhere or for its flow, as the flow says.

    Raises:
        NotFound: the message does not exist (any more).
    """

    def work(session: Session) -> None:
        hold_gate(session, alone=True)  # Behind it nobody is erased meanwhile.
        message = _message(session, reference)
        owner = get_owner(session, message)
        scope = owner.flow_id if owner.scope is UnsubscribeScope.FLOW else EVERYWHERE
        if message.address is not None:  # Who was erased is suppressed already.
            _suppress(session, message.channel, message.address, scope, SuppressionReason.ONE_CLICK, LINK)
        record_unsubscribe(session, reference, message, LINK)

    database.run(work)


def save_preferences(database: Database, reference: Reference, wishes: Wishes) -> Preferences:
    """Make what holds what was ticked; returns what is shown afterwards.

    Raises:
        NotFound: the message does not exist (any more).
    """

    def work(session: Session) -> Preferences:
        hold_gate(session, alone=True)
        message = _message(session, reference)
        owner = get_owner(session, message)
        before = _preferences(session, message, owner)
        for channel in before.channels:
            _set(session, channel, EVERYWHERE, channel.is_wanted, channel.channel in wishes.channels)
        for topic in before.topics:
            is_wanted = topic.topic.flow_id in wishes.flow_ids
            for channel in before.channels:
                _set(session, channel, topic.topic.flow_id, topic.is_wanted, is_wanted)
        after = _preferences(session, message, owner)
        if _is_less(before, after, message.channel, owner.flow_id):
            record_unsubscribe(session, reference, message, PAGE)
        return after

    return database.run(work)


def _is_less(before: Preferences, after: Preferences, channel: Channel, flow_id: int) -> bool:
    """Whether messages like the one with the link are wanted no more."""

    def wants(shown: Preferences) -> bool:
        own = [each.is_wanted for each in shown.channels if each.channel is channel]
        topic = [each.is_wanted for each in shown.topics if each.topic.flow_id == flow_id]
        return all(own) and all(topic)

    return wants(before) and not wants(after)


def _message(session: Session, reference: Reference) -> KnownMessage:
    found = find_messages(session, [(reference.uid, reference.message_id)])
    message = found.get(reference.message_id)
    if message is None:
        raise NotFound("message", reference)
    return message


def _preferences(session: Session, message: KnownMessage, owner: Owner) -> Preferences:
    if message.address is None:  # Somebody who was erased: nothing is known that could be shown or chosen.
        return Preferences([], [])
    channels, unwanted = [], set()
    for channel, address in sorted(owner.addresses.items()):
        own = list_suppressed_scopes(session, channel, address, reasons=OWN_WORDS)
        others = [each for each in SuppressionReason if each not in OWN_WORDS]
        blocked = list_suppressed_scopes(session, channel, address, reasons=others)
        channels.append(ChannelChoice(channel, address, EVERYWHERE not in own, EVERYWHERE in blocked))
        unwanted |= own
    topics = [TopicChoice(each, each.flow_id not in unwanted) for each in owner.topics]
    return Preferences(channels, topics)


def _set(session: Session, choice: ChannelChoice, scope: int, was_wanted: bool, is_wanted: bool) -> None:
    if was_wanted and not is_wanted:
        _suppress(session, choice.channel, choice.address, scope, SuppressionReason.UNSUBSCRIBE, PAGE)
    elif is_wanted and not was_wanted:
        _lift(session, choice.channel, choice.address, scope)


def _suppress(
    session: Session, channel: Channel, address: str, scope: int, reason: SuppressionReason, source: str
) -> None:
    change = SuppressionChange(channel, address, reason, datetime.now(UTC), source, scope=scope)
    stored = find_suppression(session, change)
    if stored is not None and stored.active:
        return  # Said before: saying it again is no news.
    at = change.effective_at if stored is None else max(change.effective_at, _after(stored.effective_at))
    apply_suppressions(session, [SuppressionChange(channel, address, reason, at, source, scope=scope)])


def _lift(session: Session, channel: Channel, address: str, scope: int) -> None:
    now = datetime.now(UTC)
    changes = [
        SuppressionChange(
            channel=channel,
            address=address,
            reason=stored.reason,
            effective_at=max(now, _after(stored.effective_at)),
            source=PAGE,
            active=False,
            scope=scope,
            evidence=stored.evidence,
        )
        for stored in list_own_words(session, channel, address, [scope])
    ]
    apply_suppressions(session, changes)


def _after(moment: datetime) -> datetime:
    """The later change wins, also where what is stored comes from a clock ahead of ours."""
    return moment + timedelta(microseconds=1)
