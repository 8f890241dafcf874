"""What could not be applied, over HTTP and in the terminal."""

import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from sqlalchemy import select

from db.engine import Database
from db.models import Approval, WebhookDelivery
from deployments import webhook_events_command as command
from settings import get_settings
from tasks.feedback import relabelling
from tasks.feedback.apply import apply_waiting
from tests.integration.test_feedback import event, sent, store
from tests.integration.test_feedback_meaning import counts_of


@pytest.fixture
def kept(database: Database) -> list[Any]:
    """An unreadable event, one without its message, and a good one."""
    execution, ids = sent(database)
    lost = {**event(execution, ids[0], "open"), "ics_message": f"{execution.uid}-{ids[-1] + 1000}"}
    store(
        database,
        [{"event": "delivered", "email": "ann@x.example"}, lost, event(execution, ids[0], "delivered")],
    )
    apply_waiting(database)
    return [execution, ids, lost]


def test_they_are_listed_with_the_reason(api: TestClient, kept: list[Any]) -> None:
    items = api.get("/api/webhook-events").json()["items"]
    assert [(each["problem"], each["kind"], each["state"]) for each in items] == [
        ("unmatched", "open", "open"),
        ("unreadable", None, "open"),
    ]
    assert "timestamp" in items[1]["reason"]
    assert "ann@" not in api.get("/api/webhook-events").text
    only = api.get("/api/webhook-events", params={"problem": "unreadable", "state": "open"}).json()["items"]
    assert [each["id"] for each in only] == [items[1]["id"]]
    of_delivery = {"delivery_id": items[0]["delivery_id"]}
    assert len(api.get("/api/webhook-events", params=of_delivery).json()["items"]) == 2
    assert api.get("/api/webhook-events", params={"delivery_id": 10**9}).json()["items"] == []


def test_one_shows_what_the_provider_wrote(api: TestClient, kept: list[Any]) -> None:
    unmatched, unreadable = api.get("/api/webhook-events").json()["items"]
    assert '"email":"ann@x.example"' in api.get(f"/api/webhook-events/{unreadable['id']}").json()["said"]
    assert kept[2]["ics_message"] in api.get(f"/api/webhook-events/{unmatched['id']}").json()["said"]
    assert api.get("/api/webhook-events/999").status_code == 404


def test_a_replay_is_kept_with_the_name_of_who_asked(api: TestClient, kept: list[Any]) -> None:
    unmatched, _ = api.get("/api/webhook-events").json()["items"]
    answer = api.post(f"/api/webhook-events/{unmatched['id']}/replay").json()
    assert (answer["state"], answer["attempts"], answer["replayed_by"]) == ("open", 2, "tests")
    assert api.post("/api/webhook-events/999/replay").status_code == 404
    every = api.post("/api/webhook-events/replay").json()
    assert every == {"applied": 0, "open": 2, "gone": 0, "next_cursor": None}
    first = api.post("/api/webhook-events/replay", params={"limit": 1}).json()
    assert first["next_cursor"] == unmatched["id"]


def test_deliveries_are_listed_without_their_bodies_and_may_be_applied_again(
    api: TestClient, database: Database, kept: list[Any]
) -> None:
    [delivery] = api.get("/api/webhook-deliveries", params={"state": "applied"}).json()["items"]
    with database.reading() as s:
        assert delivery["size"] == len(s.scalars(select(WebhookDelivery.body)).one())
    assert "body" not in delivery
    assert api.get("/api/webhook-deliveries", params={"state": "failed"}).json()["items"] == []
    again = api.post(f"/api/webhook-deliveries/{delivery['id']}/replay").json()
    assert (again["state"], again["attempts"]) == ("applied", 2)
    execution, _, _ = kept
    stats = api.get(f"/api/flow-executions/{execution.id}/stats", params={"verify": True}).json()
    assert (stats["messages"]["delivered"], stats["is_equal_to_recount"]) == (1, True)
    for answer in (api.get("/api/webhook-deliveries/999"), api.post("/api/webhook-deliveries/999/replay")):
        assert answer.status_code == 404


class Through:
    """The command's client, on the test client."""

    def __init__(self, api: TestClient) -> None:
        self._api = api

    def get(self, path: str, **params: Any) -> Any:
        return self._api.get(path, params=params).json()

    def post(self, path: str, **options: Any) -> Any:
        return self._api.post(path, **options).json()


def test_the_command_lists_and_replays(api: TestClient, kept: list[Any]) -> None:
    client: Any = Through(api)
    console = Console(file=io.StringIO(), width=200)
    command.list_events(client, console=console)
    assert command.replay_all(client, console=console) == 1
    [first, *_] = api.get("/api/webhook-events").json()["items"]
    assert command.replay_one(client, first["id"], console=console) == 1
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "unmatched" in text
    assert "0 applied, 2 open, 0 gone" in text
    assert f"webhook event {first['id']}: open" in text


def test_a_webhook_that_is_applied_again_is_kept_with_who_wanted_it(
    api: TestClient, database: Database, kept: list[Any]
) -> None:
    [delivery] = api.get("/api/webhook-deliveries").json()["items"]
    answer = api.post(f"/api/webhook-deliveries/{delivery['id']}/replay")
    assert (answer.status_code, answer.json()["state"]) == (200, "applied")
    with database.reading() as s:
        [approval] = s.scalars(select(Approval)).all()
    assert (approval.action, approval.approved_by, approval.details) == (
        "replay_webhook",
        "tests",
        {"delivery_id": delivery["id"]},
    )


class TestRelabelling:
    def test_machines_are_told_from_people_once_more_in_pieces(
        self, api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        execution, ids = sent(database)
        facts = [
            {
                **event(execution, each, "click", 5, url=f"https://x.example/{link}"),
                "sg_event_id": f"{each}-{link}",
            }
            for each in ids[:3]
            for link in range(2)
        ]
        store(database, [*facts, *(event(execution, each, "delivered") for each in ids)])
        apply_waiting(database)
        monkeypatch.setenv("ICS_SCANNER_LINKS", "2")
        monkeypatch.setattr(relabelling, "_IDS_AT_A_TIME", 3)
        get_settings.cache_clear()
        url = f"/api/flow-executions/{execution.id}/relabel"
        first = api.post(url).json()
        assert first == {"changed": 6, "left": 1, "next_cursor": ids[2]}
        assert api.post(url, params={"cursor": ids[2]}).json() == {
            "changed": 0,
            "left": 0,
            "next_cursor": None,
        }
        counts = counts_of(database, execution).messages
        assert (counts["clicks"], counts["machine_clicks"], counts["clicked"]) == (0, 6, 0)
        # As if it had been cut, and run again.
        assert api.post(url).json()["changed"] == 0
        assert api.post("/api/flow-executions/999/relabel").status_code == 404
        with database.reading() as s:
            found = s.scalars(select(Approval).order_by(Approval.id)).all()
        assert {(each.action, each.approved_by, each.execution_id) for each in found} == {
            ("relabel", "tests", execution.id)
        }
