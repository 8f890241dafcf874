"""Pictures of executions: of many at once, by as many statements as of one."""

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from db.queries import executions, tokens
from db.queries.executions import insert_execution
from db.queries.live import list_pictures
from db.queries.stats import get_counts, move_stats
from db.states import Channel, ExecutionState
from tests.builders import add_campaign, heard, prepared


def test_a_picture_has_the_counts_of_the_execution(session: Session) -> None:
    execution = prepared(session, add_campaign(session, clients=3))
    move_stats(session, execution.id, {"pending": -1, "excluded": 1, "excluded.suppressed": 1})
    picture = list_pictures(session, [execution.id])[execution.id]
    counts = get_counts(session, execution.id)
    assert (picture.execution_id, picture.flow_name, picture.state) == (execution.id, "Spring", "sending")
    assert (picture.messages, picture.sms) == (counts.messages, counts.sms)
    assert picture.reasons == {"excluded": {"suppressed": 1}}
    assert (picture.messages["pending"], picture.messages["excluded"]) == (2, 1)


def test_before_its_snapshot_an_execution_has_no_counts(session: Session) -> None:
    execution = insert_execution(session, add_campaign(session).flow)
    picture = list_pictures(session, [execution.id])[execution.id]
    assert (picture.state, picture.messages, picture.sms) == (ExecutionState.QUEUED, {}, {})


def test_many_cost_as_many_statements_as_one_and_are_not_mixed_up(engine: Engine, session: Session) -> None:
    names = {}
    for number, channel in enumerate((Channel.EMAIL, Channel.SMS, Channel.EMAIL)):
        campaign = add_campaign(session, channel=channel, name=f"Flow {number}", clients=0)
        names[prepared(session, campaign).id] = f"Flow {number}"
    session.commit()
    missing = max(names) + 1
    with heard(engine, "before_cursor_execute") as statements:
        pictures = list_pictures(session, [*names, missing])
    assert {key: picture.flow_name for key, picture in pictures.items()} == names
    assert sum(given[2].startswith("SELECT") for given in statements) == 4


def test_a_reason_of_an_execution_that_was_paused_is_shown(session: Session) -> None:
    execution = prepared(session, add_campaign(session, clients=1))
    executions.pause_execution(session, execution.id, reason="asked by Ann")
    picture = list_pictures(session, [execution.id])[execution.id]
    assert (picture.state, picture.reason) == (ExecutionState.PAUSED, "asked by Ann")


def test_of_some_tokens_those_that_were_not_revoked_are_active(session: Session) -> None:
    ids = [tokens.create_token(session, name)[1].id for name in "abc"]
    tokens.revoke_token(session, ids[1])
    assert tokens.list_active_tokens(session, [*ids[:2], ids[2] + 1]) == {ids[0]}
