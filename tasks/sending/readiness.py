"""What a flow still needs before it can be sent. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.states import Channel


@dataclass(frozen=True)
class Missing:
    """A field and what belongs there."""

    field: str
    message: str


def misfits_of(channel: Channel, sender: Mapping[str, str | None]) -> list[Missing]:
    """Fields of a sender that belong to the other channel."""
    foreign, why = ["sender_id"], "is for SMS; this flow sends email"
    if channel is Channel.SMS:
        foreign, why = ["from_email", "from_name", "reply_to"], "is for email; this flow sends SMS"
    return [Missing(f"sender.{name}", why) for name in foreign if sender.get(name)]


def missing_of(
    *, channel: Channel | None, client_list_id: int | None, sender: Mapping[str, str | None]
) -> list[Missing]:
    """Everything that keeps a flow from being activated and sent; empty when it is complete."""
    found = misfits_of(channel, sender) if channel is not None else []
    if channel is None:
        found.append(Missing("steps", "a flow needs a send step with a template"))
    if client_list_id is None:
        found.append(Missing("client_list_id", "a flow needs a client list"))
    if channel is Channel.EMAIL and not sender.get("from_email"):
        found.append(Missing("sender.from_email", "an email flow needs the address it comes from"))
    if channel is Channel.SMS and not sender.get("sender_id"):
        found.append(Missing("sender.sender_id", "an SMS flow needs the sender it comes from"))
    return found
