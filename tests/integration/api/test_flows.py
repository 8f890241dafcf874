"""Marketing flows over HTTP: drafts, activation, changes, the end of a flow."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.engine import Database
from db.models import Flow
from db.queries.executions import list_steps
from db.queries.schedules import mark_synced
from tests.builders import add_campaign, prepared
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/flows"
SENDER = {"from_email": "news@shop.example.com", "from_name": "The Shop"}


@pytest.fixture
def email(api: TestClient) -> dict[str, Any]:
    return created(api, "/api/templates", name="Email", channel="email", subject="Hi", html="<p>Hi</p>")


@pytest.fixture
def sms(api: TestClient) -> dict[str, Any]:
    return created(api, "/api/templates", name="SMS", channel="sms", text="Hi")


@pytest.fixture
def client_list(api: TestClient) -> dict[str, Any]:
    return created(api, "/api/client-lists", name="Customers")


@pytest.fixture
def complete(email: dict[str, Any], client_list: dict[str, Any]) -> dict[str, Any]:
    """A flow that can be activated."""
    steps = [{"kind": "send", "template_id": email["id"]}]
    return {"name": "Spring", "client_list_id": client_list["id"], "steps": steps, "sender": SENDER}


def test_a_flow_is_a_draft_until_it_is_activated(api: TestClient, complete: dict[str, Any]) -> None:
    draft = created(api, URL, **complete)
    assert (draft["state"], draft["channel"], draft["sender"]) == ("draft", "email", SENDER)
    assert [step["template_id"] for step in draft["steps"]] == [complete["steps"][0]["template_id"]]
    url = f"{URL}/{draft['id']}"
    assert api.get(url).json() == draft
    assert api.post(f"{url}/activate").json()["state"] == "active"
    assert api.post(f"{url}/activate").json()["state"] == "active"
    assert api.post(f"{url}/archive").json()["state"] == "archived"
    assert api.post(f"{url}/activate").json()["state"] == "active"


def test_activation_names_everything_that_is_missing(api: TestClient) -> None:
    draft = created(api, URL, name="Spring")
    found = fields_of(api.post(f"{URL}/{draft['id']}/activate"))
    assert found.keys() == {"body.steps", "body.client_list_id"}
    assert api.get(f"{URL}/{draft['id']}").json()["state"] == "draft"


def test_activation_needs_a_sender_for_the_channel(
    api: TestClient, complete: dict[str, Any], sms: dict[str, Any]
) -> None:
    draft = created(api, URL, **{**complete, "sender": {}})
    assert list(fields_of(api.post(f"{URL}/{draft['id']}/activate"))) == ["body.sender.from_email"]
    steps = [{"template_id": sms["id"]}]
    other = created(api, URL, **{**complete, "name": "Other", "sender": {}, "steps": steps})
    assert list(fields_of(api.post(f"{URL}/{other['id']}/activate"))) == ["body.sender.sender_id"]
    assert api.patch(f"{URL}/{other['id']}", json={"sender": {"sender_id": "Shop"}}).status_code == 200
    assert api.post(f"{URL}/{other['id']}/activate").json()["channel"] == "sms"


def test_a_sender_of_the_other_channel_is_refused(
    api: TestClient, complete: dict[str, Any], sms: dict[str, Any]
) -> None:
    wrong = {**complete, "sender": {"sender_id": "Shop"}}
    assert list(fields_of(api.post(URL, json=wrong))) == ["body.sender.sender_id"]
    assert walk(api, URL) == []
    draft = created(api, URL, **complete)
    change = {"steps": [{"template_id": sms["id"]}]}
    found = fields_of(api.patch(f"{URL}/{draft['id']}", json=change))
    assert found.keys() == {"body.sender.from_email", "body.sender.from_name"}
    assert api.get(f"{URL}/{draft['id']}").json()["channel"] == "email"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 151}, "name"),
        ({"name": None}, "name"),
        ({"client_list_id": 900_000}, "client_list_id"),
        ({"client_list_id": 2**63}, "client_list_id"),
        ({"client_list_id": True}, "client_list_id"),
        ({"steps": [{"template_id": 900_000}]}, "steps.0.template_id"),
        ({"steps": [{"kind": "wait", "template_id": 1}]}, "steps.0.kind"),
        ({"steps": [{"kind": "send"}]}, "steps.0.template_id"),
        ({"steps": [{"template_id": 1}, {"template_id": 1}]}, "steps"),
        ({"sender": {"from_email": "nobody"}}, "sender.from_email"),
        ({"sender": {"from_name": "a\nb"}}, "sender.from_name"),
        ({"sender": {"sender_id": "Twelve chars"}}, "sender.sender_id"),
        ({"sender": {"sender_id": "1234567890123456"}}, "sender.sender_id"),
        ({"sender": {"sender_id": "Zoë"}}, "sender.sender_id"),
        ({"sender": {"form_email": "a@example.com"}}, "sender.form_email"),
        ({"requires_consent": "yes"}, "requires_consent"),
        ({"state": "active"}, "state"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(
    api: TestClient, values: dict[str, Any], field: str
) -> None:
    assert list(fields_of(api.post(URL, json={"name": "Spring", **values}))) == [f"body.{field}"]
    draft = created(api, URL, name="Summer")
    assert list(fields_of(api.patch(f"{URL}/{draft['id']}", json=values))) == [f"body.{field}"]


def test_reasons_are_plain_words(api: TestClient) -> None:
    steps = [{"kind": "wait", "template_id": 1}]
    assert fields_of(api.post(URL, json={"name": "A", "steps": steps})) == {
        "body.steps.0.kind": "only send steps exist so far"
    }
    assert fields_of(api.post(URL, json={"name": "A", "steps": steps * 2})) == {
        "body.steps": "a flow has one step so far: a send step"
    }


def test_a_name_is_taken_once(api: TestClient) -> None:
    created(api, URL, name="Spring")
    other = created(api, URL, name="Summer")
    taken = {"body.name": "a flow named 'Spring' exists already"}
    assert fields_of(api.post(URL, json={"name": "Spring"}), 409) == taken
    assert fields_of(api.patch(f"{URL}/{other['id']}", json={"name": "Spring"}), 409) == taken


def test_a_change_leaves_what_it_does_not_name(api: TestClient, complete: dict[str, Any]) -> None:
    draft = created(api, URL, **complete)
    url = f"{URL}/{draft['id']}"
    changed = api.patch(url, json={"requires_consent": True}).json()
    same = ("name", "client_list_id", "sender", "steps")
    assert [changed[name] for name in same] == [draft[name] for name in same]
    assert changed["requires_consent"] is True
    assert api.patch(url, json={"client_list_id": None, "steps": []}).json()["channel"] is None


def test_an_active_flow_stays_complete(api: TestClient, complete: dict[str, Any]) -> None:
    flow = created(api, URL, **complete)
    url = f"{URL}/{flow['id']}"
    active = api.post(f"{url}/activate").json()
    for values, field in (({"steps": []}, "steps"), ({"client_list_id": None}, "client_list_id")):
        assert f"body.{field}" in fields_of(api.patch(url, json=values))
    assert api.get(url).json() == active


def test_a_flow_whose_template_was_archived_is_not_activated(
    api: TestClient, complete: dict[str, Any]
) -> None:
    flow = created(api, URL, **complete)
    api.post(f"{URL}/{flow['id']}/archive")
    template_id = complete["steps"][0]["template_id"]
    assert api.delete(f"/api/templates/{template_id}").status_code == 204
    found = fields_of(api.post(f"{URL}/{flow['id']}/activate"))
    assert found == {"body.steps.0.template_id": f"template {template_id} is archived; choose another one"}
    again = api.post(URL, json={**complete, "name": "Other"})
    assert list(fields_of(again)) == ["body.steps.0.template_id"]


def test_executions_keep_what_they_started_with(api: TestClient, database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=2))
    execution = database.run(lambda s: prepared(s, campaign))
    other = created(api, "/api/client-lists", name="Other")
    change = {"sender": {"from_email": "late@example.com"}, "client_list_id": other["id"]}
    assert api.patch(f"{URL}/{campaign.flow.id}", json=change).status_code == 200
    with database.reading() as s:
        (step,) = list_steps(s, execution.id)
    assert step.sender["from_email"] == "news@shop.example.com"
    assert step.client_list_id == campaign.client_list.id
    assert api.get(f"/api/flow-executions/{execution.id}").json()["counts"]["pending"] == 2


def test_every_change_is_still_to_be_told_to_prefect(
    api: TestClient, database: Database, complete: dict[str, Any]
) -> None:
    """Prefect is away in these tests, so the flow has to stay marked for the dispatcher."""
    flow_id = created(api, URL, **complete)["id"]
    url = f"{URL}/{flow_id}"

    def is_due() -> bool:
        with database.reading() as s:
            return s.get_one(Flow, flow_id).deployment_synced_at is None

    def sync() -> None:
        with database.reading() as s:
            as_of = s.get_one(Flow, flow_id).updated_at
        database.run(lambda s: mark_synced(s, flow_id, as_of=as_of))
        assert not is_due()

    assert is_due()
    sync()
    assert api.post(f"{url}/activate").status_code == 200
    assert is_due()
    sync()
    assert api.patch(url, json={"name": "Renamed"}).status_code == 200
    assert is_due()
    sync()
    assert api.post(f"{url}/archive").status_code == 200
    assert is_due()


def test_flows_come_by_pages_and_by_state(api: TestClient, complete: dict[str, Any]) -> None:
    ids = [created(api, URL, **{**complete, "name": f"Flow {number}"})["id"] for number in range(3)]
    ids += [created(api, URL, name=f"Draft {number}")["id"] for number in range(2)]
    api.post(f"{URL}/{ids[1]}/activate")
    listed = walk(api, URL)
    assert [item["id"] for item in listed] == ids
    assert [item["channel"] for item in listed] == ["email"] * 3 + [None] * 2
    assert [len(item["steps"]) for item in listed] == [1, 1, 1, 0, 0]
    assert [item["id"] for item in walk(api, URL, state="active")] == [ids[1]]
    assert list(fields_of(api.get(URL, params={"state": "on"}))) == ["query.state"]


def test_a_flow_that_never_ran_is_deleted_and_one_that_did_is_kept(
    api: TestClient, database: Database, complete: dict[str, Any]
) -> None:
    flow = created(api, URL, **complete)
    url = f"{URL}/{flow['id']}"
    assert api.delete(url).status_code == 204
    for gone in (
        api.get(url),
        api.patch(url, json={}),
        api.delete(url),
        api.post(f"{url}/activate"),
        api.post(f"{url}/archive"),
    ):
        problem_of(gone, 404)
    campaign = database.run(lambda s: add_campaign(s, clients=1))
    database.run(lambda s: prepared(s, campaign))
    assert "archive it" in problem_of(api.delete(f"{URL}/{campaign.flow.id}"), 409)["detail"]
