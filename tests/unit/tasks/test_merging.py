"""What becomes of several clients who are one person, and of their messages."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from db.states import Channel, Consent, MessageState
from tasks.merging.messages import OwnMessage, plan_messages
from tasks.merging.profiles import MAX_TAGS, merge_profiles

OUT = (MessageState.SENDING, MessageState.ACCEPTED, MessageState.UNKNOWN)


def facts(**values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("external_id", "email", "phone", "time_zone", "locale", "import_id"))
    texts = {"first_name": "", "last_name": "", "tags": [], "custom_fields": {}}
    consents = {"email_consent": Consent.UNKNOWN, "sms_consent": Consent.UNKNOWN}
    return {**empty, **texts, **consents, **values}


def test_the_survivor_keeps_what_it_has_and_the_first_who_has_it_fills_the_rest() -> None:
    merged = merge_profiles(
        facts(phone="+1", first_name="Ann", custom_fields={"a": 1}, tags=["x"]),
        [
            facts(email="b@x.ie", phone="+2", custom_fields={"a": 2, "b": 2}, tags=["y", "x"]),
            facts(email="c@x.ie", phone="+1", last_name="Lee", custom_fields={"b": 3, "c": 3}),
        ],
        [],
    )
    values = merged.values
    assert (values["email"], values["phone"], values["identity_key"]) == ("b@x.ie", "+1", "b@x.ie")
    assert (values["first_name"], values["last_name"]) == ("Ann", "Lee")
    assert values["custom_fields"] == {"a": 1, "b": 2, "c": 3}
    assert values["tags"] == ["x", "y"]
    assert (merged.emails, merged.phones) == (("c@x.ie",), ("+2",))


def test_a_denial_of_anybody_is_one_of_all_and_a_consent_is_not() -> None:
    mine = facts(email="a@x.ie", sms_consent=Consent.GRANTED)
    other = facts(email="b@x.ie", email_consent=Consent.GRANTED, sms_consent=Consent.DENIED)
    merged = merge_profiles(mine, [other], [])
    assert merged.values["email_consent"] is Consent.UNKNOWN
    assert merged.values["sms_consent"] is Consent.DENIED
    assert merged.denied == (Channel.SMS,)
    assert merge_profiles(mine, [facts(email="b@x.ie")], [Channel.EMAIL]).denied == (Channel.EMAIL,)


def test_an_import_may_take_back_only_what_it_made_alone() -> None:
    mine = facts(email="a@x.ie", import_id=7)
    assert merge_profiles(mine, [facts(import_id=7)], []).values["import_id"] == 7
    assert merge_profiles(mine, [facts(import_id=None)], []).values["import_id"] is None


def test_no_more_tags_than_a_client_may_have() -> None:
    merged = merge_profiles(
        facts(tags=[str(n) for n in range(MAX_TAGS)]), [facts(tags=["0", "new", "newer"])], []
    )
    assert len(merged.values["tags"]) == MAX_TAGS
    assert merged.dropped_tags == 2


def message(key: int, client_id: int, state: MessageState, step: int = 1) -> OwnMessage:
    return OwnMessage(key, client_id, 1, step, Channel.EMAIL, state)


def test_a_message_of_a_step_that_the_survivor_has_none_of_becomes_its_own() -> None:
    plan = plan_messages([message(1, 7, MessageState.PENDING)], [5, 7])
    assert (plan.owners, list(plan.excluded)) == ({1: 5}, [])


def test_what_was_never_tried_gives_way_to_what_can_still_be_sent() -> None:
    plan = plan_messages([message(1, 5, MessageState.EXCLUDED), message(2, 7, MessageState.PENDING)], [5, 7])
    assert (plan.owners, list(plan.excluded)) == ({2: 5, 1: 7}, [])


def test_who_was_written_to_is_not_written_to_again() -> None:
    plan = plan_messages([message(1, 5, MessageState.PENDING), message(2, 7, MessageState.SENDING)], [5, 7])
    assert (plan.owners, list(plan.excluded)) == ({2: 5, 1: 7}, [1])


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 2), st.sampled_from(list(MessageState))),
        max_size=8,
        unique_by=lambda row: row[:2],
    )
)
def test_of_each_step_at_most_one_leaves_and_nothing_that_could_is_lost(
    rows: list[tuple[int, int, MessageState]],
) -> None:
    messages = [message(key, client, state, step) for key, (client, step, state) in enumerate(rows, 1)]
    plan = plan_messages(messages, [1, 2, 3, 4])
    for step in {each.step_id for each in messages}:
        group = [each for each in messages if each.step_id == step]
        owners = [plan.owners.get(each.id, each.client_id) for each in group]
        assert len(set(owners)) == len(owners)
        assert 1 in owners
        waiting = [
            each for each in group if each.state is MessageState.PENDING and each.id not in plan.excluded
        ]
        has_left = any(each.state in OUT for each in group)
        could = any(each.state is MessageState.PENDING for each in group)
        assert len(waiting) == (1 if could and not has_left else 0)
        # Whoever is still written to is the survivor: the others' clients are gone.
        assert all(plan.owners.get(each.id, each.client_id) == 1 for each in waiting)
    assert all(messages[key - 1].state is MessageState.PENDING for key in plan.excluded)
