"""What a flow still needs before it can be sent. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from db.states import Channel, FlowState


@dataclass(frozen=True)
class Missing:
    """A field and what belongs there."""

    field: str
    message: str


def refusal_of(state: FlowState) -> str | None:
    """Why a flow in this state cannot be sent; None for an active one."""
    return None if state is FlowState.ACTIVE else f"the flow is {state}; activate it first"


def misfits_of(channel: Channel, sender: Mapping[str, str | None]) -> list[Missing]:
    """Fields of a sender that belong to the other channel."""
    foreign, why = ["sender_id"], "is for SMS; this flow sends email"
    if channel is Channel.SMS:
        foreign, why = ["from_email", "from_name", "reply_to"], "is for email; this flow sends SMS"
    return [Missing(f"sender.{name}", why) for name in foreign if sender.get(name)]


def missing_of(
    *,
    channel: Channel | None,
    client_list_id: int | None,
    sender: Mapping[str, str | None],
    archived_template: int | None = None,
) -> list[Missing]:
    """Everything that keeps a flow from being activated and sent; empty when it is complete.

    `archived_template` is the id of a template that it would send but that was archived.
    """
    found = misfits_of(channel, sender) if channel is not None else []
    if channel is None:
        found.append(Missing("steps", "a flow needs a send step with a template"))
    if client_list_id is None:
        found.append(Missing("client_list_id", "a flow needs a client list"))
    if channel is Channel.EMAIL and not sender.get("from_email"):
        found.append(Missing("sender.from_email", "an email flow needs the address it comes from"))
    if channel is Channel.SMS and not sender.get("sender_id"):
        found.append(Missing("sender.sender_id", "an SMS flow needs the sender it comes from"))
    if archived_template is not None:
        why = f"template {archived_template} is archived; choose another one"
        found.append(Missing("steps.0.template_id", why))
    return found
