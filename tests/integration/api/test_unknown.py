"""Unknown messages over HTTP: counted, listed, exported, and decided about by somebody with a name."""

import csv
import io

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api.routers import unknown as routes
from db.engine import Database
from db.models import Message
from db.queries import ledger
from tests.builders import add_campaign, age_batches, prepared, to_sending
from tests.integration.api.answers import fields_of, problem_of, walk


@pytest.fixture
def execution(database: Database) -> str:
    """The path of an execution of five messages, four of which became unknown just now."""

    def given(s):  # type: ignore[no-untyped-def]
        made = prepared(s, add_campaign(s, clients=5), batch_size=4)
        batch = ledger.claim_batch(s, made.id, lease_seconds=60)
        assert batch is not None
        to_sending(s, batch)
        ledger.leave_unknown(s, batch, error="=reset")
        return made.id

    return f"/api/flow-executions/{database.run(given)}"


def test_unknown_messages_are_counted_with_their_age(api: TestClient, execution: str) -> None:
    found = api.get(f"{execution}/unknown").json()
    assert (found["messages"], found["batches"], found["overdue"]) == (4, 1, 0)
    assert 0 <= found["oldest_seconds"] < 60
    assert found["evidence_until"] > found["oldest_since"]
    stats = api.get(f"{execution}/stats?verify=true").json()
    assert stats["is_equal_to_recount"] is True
    assert 0 <= stats["oldest_unknown_seconds"] < 60
    assert api.get(execution).json()["counts"]["unknown"] == 4
    assert len(walk(api, f"{execution}/messages", state="unknown")) == 4


def test_a_resend_before_the_window_needs_the_explicit_word(api: TestClient, execution: str) -> None:
    refusal = fields_of(api.post(f"{execution}/unknown/resend"), 409)
    assert "evidence about 4 messages may still come until" in refusal["body.before_evidence_window"]
    early = {"before_evidence_window": True}
    answer = api.post(f"{execution}/unknown/resend", json=early).json()
    assert (answer["messages"], answer["left"]) == (4, 0)
    stats = api.get(f"{execution}/stats?verify=true").json()
    assert stats["is_equal_to_recount"] is True
    assert stats["messages"]["pending"] == 5
    assert stats["oldest_unknown_seconds"] is None
    problem_of(api.post(f"{execution}/unknown/resend", json=early), 409)


def test_after_the_window_messages_are_written_off_and_it_is_known_by_whom(
    api: TestClient, execution: str, database: Database
) -> None:
    batch_id = next(csv_rows(api, execution))["batch_id"]
    database.run(lambda s: age_batches(s, int(batch_id), hours=73))
    answer = api.post(f"{execution}/unknown/close", json={}).json()
    assert answer["messages"] == 4
    failed = api.get(f"{execution}/messages?state=failed").json()["items"]
    assert {item["reason"] for item in failed} == {"unresolved"}
    [approval] = api.get(f"{execution}/approvals").json()["items"]
    assert approval["id"] == answer["approval_id"]
    assert (approval["action"], approval["approved_by"]) == ("close_unknown", "tests")
    assert approval["approved_at"]
    assert approval["details"]["messages"] == 4


def test_approvals_come_in_pages_in_the_order_in_which_they_were_given(
    api: TestClient, execution: str, database: Database
) -> None:
    def lose(s):  # type: ignore[no-untyped-def]
        batch = ledger.claim_batch(s, int(execution.rsplit("/", 1)[1]), lease_seconds=60)
        assert batch is not None
        to_sending(s, batch)
        ledger.leave_unknown(s, batch, error="reset")

    for action in ("resend", "resend", "close"):
        assert api.post(f"{execution}/unknown/{action}", json={"before_evidence_window": True}).is_success
        database.run(lose)
    actions = [item["action"] for item in walk(api, f"{execution}/approvals")]
    assert actions == ["resend_unknown", "resend_unknown", "close_unknown"]


def test_the_export_has_every_message_and_runs_nothing_in_a_spreadsheet(
    api: TestClient, execution: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_CSV_PAGE", 3)
    listed = walk(api, f"{execution}/messages", state="unknown")
    database.run(
        lambda s: s.execute(update(Message).where(Message.id == listed[0]["id"]).values(address="=1@x.ie"))
    )
    answer = api.get(f"{execution}/unknown/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].endswith('-unknown.csv"')
    assert answer.text.startswith("\ufeffmessage_id,")
    rows = list(csv_rows(api, execution))
    assert [int(row["message_id"]) for row in rows] == [item["id"] for item in listed]
    assert [row["reference"] for row in rows] == [item["reference"] for item in listed]
    assert rows[0]["address"] == "'=1@x.ie"
    assert {row["error"] for row in rows} == {"'=reset"}
    assert {row["step"] for row in rows} == {"1"}


@pytest.mark.parametrize("path", ["unknown", "unknown/export", "approvals"])
def test_of_an_execution_that_is_not_there_nothing_is_shown(api: TestClient, path: str) -> None:
    problem_of(api.get(f"/api/flow-executions/999/{path}"), 404)


@pytest.mark.parametrize("action", ["resend", "close"])
def test_a_decision_is_a_yes_or_no(api: TestClient, execution: str, action: str) -> None:
    url = f"{execution}/unknown/{action}"
    assert list(fields_of(api.post(url, json={"before_evidence_window": "maybe"}))) == [
        "body.before_evidence_window"
    ]
    assert list(fields_of(api.post(url, json={"force": True}))) == ["body.force"]
    problem_of(api.post(f"/api/flow-executions/999/unknown/{action}"), 404)


def csv_rows(api: TestClient, execution: str):  # type: ignore[no-untyped-def]
    text = api.get(f"{execution}/unknown/export").text.removeprefix("\ufeff")
    yield from csv.DictReader(io.StringIO(text))
