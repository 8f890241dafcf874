"""Whose the messages of merged clients are, and which of them must not be sent any more. Pure.

Of one step of one execution a person gets one message. So when several clients are one person, at most one message of theirs
may leave, and none once another one has, or may have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from db.states import Channel, MessageState

_OUT = (MessageState.SENDING, MessageState.ACCEPTED, MessageState.UNKNOWN)
# The survivor's timeline shows what happened: what left before what waits, and what was never tried last.
_RANK = {
    **dict.fromkeys(_OUT, 0),
    MessageState.PENDING: 1,
    MessageState.FAILED: 2,
    MessageState.CANCELLED: 3,
    MessageState.EXCLUDED: 3,
}


@dataclass(frozen=True)
class OwnMessage:
    """A message of one of the clients; `sending` is told from `pending` by its batch."""

    id: int
    client_id: int
    execution_id: int
    step_id: int
    channel: Channel
    state: MessageState


@dataclass(frozen=True)
class MessagePlan:
    """`owners` are messages that change their client, by id; `excluded` those that are pending and must not be sent. What is in
    neither stays where it is, under the id of a client that was merged."""

    owners: Mapping[int, int] = field(default_factory=dict)
    excluded: Sequence[int] = ()


def plan_messages(messages: Sequence[OwnMessage], order: Sequence[int]) -> MessagePlan:
    """`order` are the clients, the survivor first."""
    owners: dict[int, int] = {}
    excluded: list[int] = []
    place = {client_id: number for number, client_id in enumerate(order)}
    ordered = sorted(messages, key=lambda message: (_step(message), place[message.client_id]))
    for _, group in groupby(ordered, key=_step):
        rivals = sorted(group, key=lambda message: _RANK[message.state])
        shown, own = rivals[0], next((each for each in rivals if each.client_id == order[0]), None)
        if shown.client_id != order[0]:
            owners[shown.id] = order[0]
            if own is not None:
                owners[own.id] = shown.client_id
        excluded += [each.id for each in rivals[1:] if each.state is MessageState.PENDING]
    return MessagePlan(owners, sorted(excluded))


def _step(message: OwnMessage) -> tuple[int, int, str]:
    return message.execution_id, message.step_id, message.channel.value
