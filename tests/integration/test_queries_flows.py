"""Queries of flows."""

import pytest
from sqlalchemy import Engine

from db.engine import Database
from db.errors import Conflict, Invalid
from db.queries.client_lists import delete_client_list, insert_client_list
from db.queries.flows import (
    StepInput,
    delete_flow,
    find_archived_template,
    find_channels,
    find_sender,
    get_flow,
    insert_flow,
    list_flow_steps,
    list_steps_of,
    lock_flow,
    set_flow_state,
    update_flow,
)
from db.queries.schedules import find_schedule, upsert_schedule
from db.queries.templates import Content, archive_template, insert_template
from db.states import Channel, FlowState, ScheduleKind, StepKind
from tests.builders import add_campaign, prepared


@pytest.fixture
def database(engine: Engine) -> Database:
    return Database(engine)


def add_template(database: Database, name: str, channel: Channel = Channel.EMAIL) -> int:
    content = Content("Hi", "", "Hi")
    return database.run(lambda s: insert_template(s, name, channel, content).template.id)


def step(template_id: int) -> list[StepInput]:
    return [StepInput(StepKind.SEND, template_id)]


def test_the_session_goes_on_after_a_conflict(database: Database) -> None:
    with database.transaction() as s:
        insert_flow(s, {"name": "A"}, [])
        other = insert_flow(s, {"name": "B"}, [])
        with pytest.raises(Conflict, match="a flow named 'A' exists already"):
            insert_flow(s, {"name": "A"}, [])
        with pytest.raises(Conflict, match="a flow named 'A' exists already"):
            update_flow(s, other.id, {"name": "A"}, None)
        update_flow(s, other.id, {"requires_consent": True}, None)
    with database.reading() as s:
        stored = get_flow(s, other.id)
        assert (stored.name, stored.requires_consent) == ("B", True)


def test_steps_are_replaced_as_a_whole_or_kept(database: Database) -> None:
    first, second = add_template(database, "A"), add_template(database, "B", Channel.SMS)
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F"}, step(first)).id)
    database.run(lambda s: update_flow(s, flow_id, {"name": "G"}, None))
    with database.reading() as s:
        assert [item.template_id for item in list_flow_steps(s, flow_id)] == [first]
    database.run(lambda s: update_flow(s, flow_id, {}, step(second)))
    with database.reading() as s:
        assert [item.template_id for item in list_steps_of(s, [flow_id])[flow_id]] == [second]
        assert find_channels(s, [flow_id]) == {flow_id: Channel.SMS}
    with pytest.raises(Invalid, match="template 900000 does not exist"):
        database.run(lambda s: update_flow(s, flow_id, {"name": "H"}, step(900_000)))
    with database.reading() as s:
        assert get_flow(s, flow_id).name == "G"


def test_a_list_in_use_stays(database: Database) -> None:
    list_id = database.run(lambda s: insert_client_list(s, {"name": "L"}).id)
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F", "client_list_id": list_id}, []).id)
    with pytest.raises(Conflict, match=f"flow {flow_id} uses this list"):
        database.run(lambda s: delete_client_list(s, list_id))
    with pytest.raises(Invalid, match="client list 900000 does not exist"):
        database.run(lambda s: update_flow(s, flow_id, {"client_list_id": 900_000}, None))


def test_the_newest_flow_lends_its_sender(database: Database) -> None:
    template_id = add_template(database, "A")
    with database.reading() as s:
        assert find_sender(s, template_id) == {}
    with database.transaction() as s:
        for name in ("old", "new"):
            insert_flow(s, {"name": name, "sender": {"from_email": f"{name}@x.ie"}}, step(template_id))
    with database.reading() as s:
        assert find_sender(s, template_id) == {"from_email": "new@x.ie"}


def test_an_archived_template_of_a_flow_is_found(database: Database) -> None:
    template_id = add_template(database, "A")
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F"}, step(template_id)).id)
    database.run(lambda s: set_flow_state(s, flow_id, FlowState.ARCHIVED))
    database.run(lambda s: archive_template(s, template_id))
    with database.reading() as s:
        assert find_archived_template(s, flow_id) == template_id


def test_a_deleted_flow_takes_steps_and_schedule_along(database: Database) -> None:
    template_id = add_template(database, "A")
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F"}, step(template_id)).id)
    schedule = {"kind": ScheduleKind.CRON, "expression": "0 9 * * *", "time_zone": "UTC"}
    database.run(lambda s: upsert_schedule(s, flow_id, schedule))
    database.run(lambda s: delete_flow(s, flow_id))
    with database.reading() as s:
        assert find_schedule(s, flow_id) is None
        assert list_flow_steps(s, flow_id) == []
    database.run(lambda s: archive_template(s, template_id))


def test_a_flow_that_ran_is_kept(database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=1))
    database.run(lambda s: prepared(s, campaign))
    with pytest.raises(Conflict, match="archive it instead"):
        database.run(lambda s: delete_flow(s, campaign.flow.id))


def test_a_change_is_new_to_prefect_even_if_only_the_steps_changed(database: Database) -> None:
    template_id = add_template(database, "A")
    flow_id = database.run(lambda s: insert_flow(s, {"name": "F"}, []).id)
    with database.reading() as s:
        before = lock_flow(s, flow_id).updated_at
    database.run(lambda s: update_flow(s, flow_id, {}, step(template_id)))
    with database.reading() as s:
        flow = get_flow(s, flow_id)
        assert flow.updated_at > before
        assert flow.deployment_synced_at is None
