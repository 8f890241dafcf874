"""What a flow still needs, and what does not belong to it."""

import pytest

from db.states import Channel, FlowState
from tasks.sending.readiness import misfits_of, missing_of, refusal_of

EMAIL = {"from_email": "news@x.ie", "from_name": "Shop", "reply_to": None}
SMS = {"sender_id": "Shop"}


@pytest.mark.parametrize(("channel", "sender"), [(Channel.EMAIL, EMAIL), (Channel.SMS, SMS)])
def test_a_complete_flow_lacks_nothing(channel: Channel, sender: dict[str, str | None]) -> None:
    assert missing_of(channel=channel, client_list_id=1, sender=sender) == []


@pytest.mark.parametrize(
    ("channel", "list_id", "sender", "fields"),
    [
        (None, None, {}, ["steps", "client_list_id"]),
        (Channel.EMAIL, 1, {}, ["sender.from_email"]),
        (Channel.SMS, 1, {}, ["sender.sender_id"]),
        (Channel.SMS, 1, EMAIL, ["sender.from_email", "sender.from_name", "sender.sender_id"]),
        (Channel.EMAIL, None, {**EMAIL, **SMS}, ["sender.sender_id", "client_list_id"]),
    ],
)
def test_everything_that_is_missing_or_foreign_is_named(
    channel: Channel | None, list_id: int | None, sender: dict[str, str | None], fields: list[str]
) -> None:
    found = missing_of(channel=channel, client_list_id=list_id, sender=sender)
    assert [item.field for item in found] == fields


def test_an_empty_sender_contradicts_nothing() -> None:
    assert misfits_of(Channel.EMAIL, {}) == misfits_of(Channel.SMS, {"reply_to": None}) == []


def test_an_archived_template_is_named() -> None:
    found = missing_of(channel=Channel.SMS, client_list_id=1, sender=SMS, archived_template=7)
    assert [(item.field, item.message) for item in found] == [
        ("steps.0.template_id", "template 7 is archived; choose another one")
    ]


def test_only_an_active_flow_is_sent() -> None:
    assert refusal_of(FlowState.ACTIVE) is None
    assert refusal_of(FlowState.DRAFT) == "the flow is draft; activate it first"
