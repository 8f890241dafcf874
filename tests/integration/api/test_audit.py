"""What is kept of who did what, and that nobody changes it unseen; large sends take a second person."""

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, select, text, update

from db.dialect import utc_in
from db.engine import Database, Session
from db.models import AuditEntry, AuditOutcome, FlowExecution
from db.queries import executions
from db.states import Channel, ExecutionState, Role
from settings import get_settings
from tasks.access.abilities import Ability, is_audited
from tasks.access.audit import seal_entries, verify_seals
from tests.builders import add_campaign
from tests.integration.api.answers import created, problem_of, walk
from tests.integration.api.test_access import holder, operations, user_of


def entries(api: TestClient, **params: object) -> list[dict[str, object]]:
    answer = api.get("/api/audit", params=params)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def test_what_was_done_is_kept_with_who_and_what_came_of_it(api: TestClient, database: Database) -> None:
    made = created(api, "/api/users", email="bob@example.com", name="Bob", role="viewer")
    api.patch(f"/api/users/{made['id']}", json={"role": "editor"}, headers={"X-Request-ID": "r-1"})
    api.patch("/api/users/999999", json={"role": "editor"})
    third, second, first = entries(api)
    assert (first["action"], first["status"], first["details"]) == (
        "users:write",
        201,
        {"user_id": made["id"], "role": "viewer"},
    )
    assert (second["subject"], second["request_id"]) == ({"user_id": made["id"]}, "r-1")
    assert second["route"] == "PATCH /api/users/{user_id}"
    assert (third["status"], third["who"]) == (404, "token tests")
    assert "bob@" not in str((first, second, third))


def test_looking_is_not_kept_but_taking_away_is(api: TestClient) -> None:
    api.get("/api/clients")
    assert entries(api) == []
    api.get("/api/clients/export")
    assert [each["action"] for each in entries(api)] == ["clients:export"]
    assert entries(api, action="flows:send") == []


def test_logins_are_kept_good_and_bad(anonymous: TestClient, api: TestClient) -> None:
    body = {"email": "nobody-here@example.com", "password": "x"}
    problem_of(anonymous.post("/api/auth/login", json=body), 401)
    (entry,) = entries(api)
    assert (entry["action"], entry["status"], entry["who"]) == ("account:login", 401, "somebody")


def test_pages_go_back_in_time(api: TestClient) -> None:
    for number in range(5):
        created(api, "/api/users", email=f"user{number}@example.com", name="U")
    ids = [each["id"] for each in walk(api, "/api/audit")]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5


def test_nothing_is_done_that_cannot_be_kept(api: TestClient, database: Database) -> None:
    name = AuditEntry.__tablename__
    database.run(lambda s: s.execute(text(f"ALTER TABLE {name} RENAME TO {name}_away")))
    try:
        answer = api.post("/api/users", json={"email": "bob@example.com", "name": "Bob"})
        assert answer.status_code >= 500
    finally:
        database.run(lambda s: s.execute(text(f"ALTER TABLE {name}_away RENAME TO {name}")))
    assert api.get("/api/users").json()["items"] == []


def test_every_route_that_sends_exports_deletes_or_touches_access_is_audited(api: TestClient) -> None:
    for method, path, abilities in operations(api):
        for ability in map(Ability, abilities):
            sends = path.endswith(
                ("/send", "/test-send", "/resend", "/approve", "/pause", "/resume", "/cancel")
            )
            exports = "export" in path
            touches = path.startswith(("/api/unsubscribed", "/api/users", "/api/auth/tokens"))
            if sends and "bulk-operations" not in path:
                assert is_audited(ability), (method, path)
            if exports or (touches and method != "GET"):
                assert is_audited(ability), (method, path)
            if method == "DELETE" and not path.endswith("/members") and "import-mappings" not in path:
                assert is_audited(ability), (method, path)


@pytest.fixture
def sealed(api: TestClient, database: Database) -> Database:
    for number in range(4):
        created(api, "/api/users", email=f"user{number}@example.com", name="U")
    database.run(lambda s: s.execute(update(AuditEntry).values(at=utc_in(-7200))))
    assert seal_entries(database, get_settings()) == 4
    assert seal_entries(database, get_settings()) == 0
    return database


def test_a_sealed_log_is_as_it_was(sealed: Database, api: TestClient) -> None:
    created(api, "/api/users", email="later@example.com", name="U")
    verdict = verify_seals(sealed, get_settings())
    assert (verdict.entries, verdict.seals, list(verdict.broken), verdict.unsealed) == (4, 1, [], 1)


@pytest.mark.parametrize("change", ["who", "deleted", "outcome", "added"])
def test_what_is_changed_behind_the_platforms_back_shows(sealed: Database, change: str) -> None:
    def work(session: Session) -> None:
        ids = session.scalars(select(AuditEntry.id).order_by(AuditEntry.id)).all()
        statement = {
            "who": update(AuditEntry).where(AuditEntry.id == ids[1]).values(who="somebody else"),
            "deleted": delete(AuditEntry).where(AuditEntry.id == ids[2]),
            "outcome": update(AuditOutcome).where(AuditOutcome.entry_id == ids[0]).values(status=404),
            "added": delete(AuditOutcome).where(AuditOutcome.entry_id == ids[3]),
        }[change]
        session.execute(statement)

    sealed.run(work)
    assert len(verify_seals(sealed, get_settings()).broken) == 1


def test_who_deletes_clients_by_the_hundred_is_kept(api: TestClient) -> None:
    client_id = created(api, "/api/clients", email="ada@example.com")["id"]
    done = created(api, "/api/bulk-operations", action="delete", client_ids=[client_id])
    (kept,) = entries(api, action="clients:delete")
    assert (kept["status"], kept["details"]) == (201, {"bulk_operation_id": done["id"]})


def large(database: Database, *, user_id: int | None) -> FlowExecution:
    """An execution with three messages, of which two need a second person."""

    def work(session: Session) -> FlowExecution:
        campaign = add_campaign(session, name="Large", clients=3)
        return executions.insert_execution(
            session,
            campaign.flow,
            requested_by="user Ada",
            requested_by_user_id=user_id,
        )

    execution = database.run(work)
    state = database.run(
        lambda s: executions.prepare_execution(
            s, execution.id, batch_sizes={Channel.EMAIL: 10, Channel.SMS: 10}, approve_above=2
        )
    )
    assert state is ExecutionState.PAUSED
    return execution


def test_a_large_send_waits_for_somebody_else(api: TestClient, database: Database) -> None:
    ada, as_ada = user_of(database, Role.EDITOR, "ada")
    _, as_bob = user_of(database, Role.EDITOR, "bob")
    viewer = holder(database, Role.VIEWER)
    execution = large(database, user_id=ada)
    path = f"/api/flow-executions/{execution.id}"
    shown = api.get(path).json()
    assert (shown["awaits_approval"], shown["requested_by"]) == (True, "user Ada")
    assert shown["reason"] == "3 messages are more than 2: a second person has to approve"

    problem_of(api.post(f"{path}/resume", headers=as_ada), 409)
    assert "yourself" in problem_of(api.post(f"{path}/approve", headers=as_ada), 409)["detail"]
    assert "belongs to no user" in problem_of(api.post(f"{path}/approve"), 409)["detail"]
    problem_of(api.post(f"{path}/approve", headers=viewer), 403)

    approved = api.post(f"{path}/approve", headers=as_bob)
    assert (approved.json()["state"], approved.json()["awaits_approval"]) == ("sending", False)
    problem_of(api.post(f"{path}/approve", headers=as_bob), 409)
    (kept,) = api.get(f"{path}/approvals").json()["items"]
    assert (kept["action"], kept["approved_by"]) == ("send_large", "bob")


@pytest.mark.parametrize("by_schedule", [True, False])
def test_what_no_person_sent_is_approved_by_two(
    api: TestClient, database: Database, by_schedule: bool
) -> None:
    """Who changes a flow must not send it alone, by way of somebody else's schedule or of a token that is nobody's."""
    ada, as_ada = user_of(database, Role.EDITOR, "ada")
    _, as_bob = user_of(database, Role.EDITOR, "bob")
    execution = large(database, user_id=ada if by_schedule else None)
    if by_schedule:
        database.run(lambda s: s.execute(update(FlowExecution).values(scheduled_for=utc_in(-60))))
    path = f"/api/flow-executions/{execution.id}"
    first = api.post(f"{path}/approve", headers=as_bob).json()
    assert (first["state"], first["awaits_approval"]) == ("paused", True)
    assert "one more person" in first["reason"]
    problem_of(api.post(f"{path}/approve", headers=as_bob), 409)
    problem_of(api.post(f"{path}/resume", headers=as_bob), 409)
    second = api.post(f"{path}/approve", headers=as_ada).json()
    assert (second["state"], second["awaits_approval"]) == ("sending", False)


def test_a_large_send_that_nobody_wants_can_be_cancelled(api: TestClient, database: Database) -> None:
    execution = large(database, user_id=None)
    assert api.post(f"/api/flow-executions/{execution.id}/cancel").json()["state"] == "cancelled"
    _, as_bob = user_of(database, Role.EDITOR, "bob")
    problem_of(api.post(f"/api/flow-executions/{execution.id}/approve", headers=as_bob), 409)


def test_a_small_send_needs_nobody_else(database: Database) -> None:
    def work(session: Session) -> ExecutionState:
        campaign = add_campaign(session, name="Small", clients=2)
        execution = executions.insert_execution(session, campaign.flow)
        sizes = {Channel.EMAIL: 10, Channel.SMS: 10}
        return executions.prepare_execution(session, execution.id, batch_sizes=sizes, approve_above=2)

    assert database.run(work) is ExecutionState.SENDING
