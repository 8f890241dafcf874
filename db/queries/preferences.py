"""What the owner of an address may choose: channels, and flows that have a topic."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from db.models import Client, Flow, FlowExecution, Message, Unsubscribed
from db.queries.feedback import KnownMessage
from db.states import Channel, SuppressionReason, UnsubscribeScope

OWN_WORDS = (SuppressionReason.UNSUBSCRIBE, SuppressionReason.ONE_CLICK, SuppressionReason.STOP)
"""What the owner has said, and may take back. A bounce or a complaint is not lifted by a tick."""
MOST_TOPICS = 50


@dataclass(frozen=True)
class Topic:
    """A flow as its receivers know it."""

    flow_id: int
    name: str


@dataclass(frozen=True)
class Owner:
    """Whose link it is: the addresses of the client, as far as they are known, and the flow that the link is of."""

    addresses: dict[Channel, str]
    flow_id: int
    scope: UnsubscribeScope
    topics: Sequence[Topic]


def get_owner(session: Session, message: KnownMessage) -> Owner:
    """Of a message's link. The address it went to counts, whatever the client's is today; the other channel's is the client's."""
    flow = session.scalars(
        select(Flow)
        .join(FlowExecution, FlowExecution.flow_id == Flow.id)
        .where(FlowExecution.id == message.execution_id)
    ).one()
    client = session.get(Client, message.client_id)
    addresses: dict[Channel, str] = {}
    if client is not None:
        known = {Channel.EMAIL: client.email, Channel.SMS: client.phone}
        addresses = {channel: address for channel, address in known.items() if address}
    if message.address is not None:
        addresses[message.channel] = message.address
    topics = _list_topics(session, message.client_id, flow.id)
    return Owner(addresses, flow.id, flow.unsubscribe_scope, topics)


def list_suppressed_scopes(
    session: Session, channel: Channel, address: str, *, reasons: Collection[SuppressionReason] | None = None
) -> set[int]:
    """Scopes in which the address is suppressed (0 is everywhere), for any of the reasons or at all."""
    query = select(Unsubscribed.scope).where(
        Unsubscribed.channel == channel, Unsubscribed.address == address, Unsubscribed.active.is_(True)
    )
    if reasons is not None:
        query = query.where(Unsubscribed.reason.in_(list(reasons)))
    return set(session.scalars(query))


def list_own_words(
    session: Session, channel: Channel, address: str, scopes: Collection[int]
) -> Sequence[Unsubscribed]:
    """The suppressions that hold because the owner said so, in these scopes."""
    return session.scalars(
        select(Unsubscribed)
        .where(
            Unsubscribed.channel == channel,
            Unsubscribed.address == address,
            Unsubscribed.scope.in_(list(scopes)),
            Unsubscribed.reason.in_(OWN_WORDS),
            Unsubscribed.active.is_(True),
        )
        .order_by(Unsubscribed.id)
        .execution_options(populate_existing=True)
    ).all()


def _list_topics(session: Session, client_id: int, flow_id: int) -> list[Topic]:
    """Of flows that the client had messages of, and of this one, by name."""
    had = (
        select(FlowExecution.flow_id)
        .join(Message, Message.execution_id == FlowExecution.id)
        .where(Message.client_id == client_id)
    )
    rows = session.execute(
        select(Flow.id, Flow.topic)
        .where(Flow.topic.is_not(None), or_(Flow.id == flow_id, Flow.id.in_(had)))
        .order_by(Flow.topic, Flow.id)
        .limit(MOST_TOPICS)
    )
    return [Topic(key, name) for key, name in rows if name is not None]
