"""Sending through the API: it answers at once, keeps what it promised when Prefect is away, and can be stopped."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.engine import get_database
from db.queries import dispatching, executions, ledger
from settings import get_settings
from tests.builders import Campaign, add_campaign, prepared, to_sending


@pytest.fixture
def campaign(api: TestClient) -> Campaign:
    return get_database().run(lambda s: add_campaign(s, clients=5))


@pytest.fixture
def with_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.x")
    # Nobody listens there: Prefect is away.
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    get_settings.cache_clear()


@pytest.fixture
def sending(campaign: Campaign) -> int:
    return get_database().run(lambda s: prepared(s, campaign, batch_size=2).id)


def test_a_send_is_accepted_and_kept_while_prefect_is_away(
    api: TestClient, campaign: Campaign, with_key: None
) -> None:
    answer = api.post(f"/api/flows/{campaign.flow.id}/send")
    assert answer.status_code == 202
    execution = answer.json()
    assert execution["state"] == "queued"
    assert execution["counts"] is None
    with get_database().reading() as s:
        waiting = dispatching.list_undispatched(s, limit=10, orphan_seconds=30, grace_seconds=-1)
    assert waiting == [execution["id"]]


def test_without_a_key_of_the_provider_nothing_is_promised(api: TestClient, campaign: Campaign) -> None:
    answer = api.post(f"/api/flows/{campaign.flow.id}/send")
    assert answer.status_code == 409
    assert "SENDGRID_API_KEY" in answer.json()["detail"]


def test_only_an_active_flow_is_sent(api: TestClient, campaign: Campaign, with_key: None) -> None:
    api.post(f"/api/flows/{campaign.flow.id}/archive")
    answer = api.post(f"/api/flows/{campaign.flow.id}/send")
    assert answer.status_code == 409


def test_an_execution_keeps_the_template_it_started_with(
    api: TestClient, campaign: Campaign, sending: int
) -> None:
    api.patch(f"/api/templates/{campaign.template.id}", json={"subject": "Another one"})
    with get_database().reading() as s:
        [step] = executions.list_steps(s, sending)
        _, version = executions.get_execution_step(s, step.id)
    assert (version.version, version.subject) == (1, "Hello {{ client.first_name }}")


def test_pausing_resuming_and_cancelling(api: TestClient, sending: int, with_key: None) -> None:
    path = f"/api/flow-executions/{sending}"
    assert api.post(f"{path}/pause").json()["state"] == "paused"
    assert api.post(f"{path}/pause").status_code == 409
    assert api.post(f"{path}/resume").json()["state"] == "sending"
    cancelled = api.post(f"{path}/cancel").json()
    assert cancelled["state"] == "cancelled"
    assert cancelled["counts"]["cancelled"] == 5
    assert api.post(f"{path}/resume").status_code == 409


def test_the_ledger_says_why_everybody_did_or_did_not_get_it(api: TestClient, sending: int) -> None:
    page: dict[str, Any] = api.get(f"/api/flow-executions/{sending}/messages?limit=3").json()
    assert [item["state"] for item in page["items"]] == ["pending"] * 3
    rest = api.get(f"/api/flow-executions/{sending}/messages?limit=3&cursor={page['next_cursor']}").json()
    assert len(rest["items"]) == 2
    assert rest["next_cursor"] is None
    assert api.get(f"/api/flow-executions/{sending}/messages?state=failed").json()["items"] == []
    mine = api.get(f"/api/clients/{page['items'][0]['client_id']}/messages").json()["items"]
    assert [item["id"] for item in mine] == [page["items"][0]["id"]]


def test_sending_unknown_messages_again_is_a_recorded_decision(
    api: TestClient, sending: int, with_key: None
) -> None:
    database = get_database()
    batch = database.run(lambda s: ledger.claim_batch(s, sending, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: to_sending(s, batch))
    database.run(lambda s: ledger.leave_unknown(s, batch, error="reset"))
    answer = api.post(
        f"/api/flow-executions/{sending}/unknown/resend", json={"before_evidence_window": True}
    ).json()
    assert answer["messages"] == 2
    assert answer["approval_id"] >= 1
    stats = api.get(f"/api/flow-executions/{sending}/stats?verify=true").json()
    assert stats["is_equal_to_recount"] is True
    assert stats["messages"]["pending"] == 5


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "cron", "expression": "0 9 * *", "time_zone": "Europe/Dublin"}, "body.expression"),
        ({"kind": "cron", "expression": "0 9 * * *", "time_zone": "Mars/Phobos"}, "body.time_zone"),
        ({"kind": "once", "expression": "2020-01-01T09:00", "time_zone": "Europe/Dublin"}, "body.expression"),
        ({"kind": "rrule", "expression": "FREQ=DAILY", "time_zone": "Europe/Dublin"}, "body.starts_at"),
        ({"kind": "cron", "expression": "0 9 * * *", "time_zone": "UTC", "colour": 1}, "body.colour"),
    ],
)
def test_a_schedule_that_cannot_be_names_its_field(
    api: TestClient, campaign: Campaign, body: dict[str, Any], field: str
) -> None:
    answer = api.put(f"/api/flows/{campaign.flow.id}/schedule", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_schedule_is_set_shown_and_removed(api: TestClient, campaign: Campaign, with_key: None) -> None:
    path = f"/api/flows/{campaign.flow.id}/schedule"
    body = {"kind": "cron", "expression": "0 9 * * MON", "time_zone": "Europe/Dublin", "missed_policy": "ask"}
    schedule = api.put(path, json=body).json()
    assert schedule["next_run_at"] is not None
    assert api.get(path).json() == schedule
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
