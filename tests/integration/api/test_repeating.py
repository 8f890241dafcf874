"""Requests that are sent again, and changes that meet: nothing is done twice, and nobody's change is lost unseen."""

from threading import Barrier, Thread
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from db.dialect import utc_in
from db.engine import Database, DatabaseOutage
from db.models import Client, FlowExecution, IdempotencyKey, Template
from db.queries.tokens import create_token
from db.states import Role
from settings import get_settings
from tasks.access import jackets
from tests.builders import add_campaign
from tests.integration.api.answers import created, problem_of
from tests.integration.api.test_access import user_of

TEMPLATE = {"name": "T", "channel": "sms", "text": "Hello"}
KEY = {"Idempotency-Key": "3f1c2d7e-client-1"}


def count(database: Database, model: type[Any]) -> int:
    with database.reading() as s:
        return s.scalar(select(func.count()).select_from(model)) or 0


def test_the_same_request_again_gets_the_same_answer_and_is_done_once(
    api: TestClient, database: Database
) -> None:
    body = {"first_name": "Ada", "email": "ada@example.com"}
    first = api.post("/api/clients", json=body, headers=KEY)
    again = api.post("/api/clients", json=body, headers=KEY)
    assert first.status_code == again.status_code == 201
    assert again.json() == first.json()
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (
        None,
        "true",
    )
    assert again.headers["content-type"] == "application/json"
    assert count(database, Client) == 1


def test_another_request_with_the_same_key_is_refused(api: TestClient, database: Database) -> None:
    created_first = api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY)
    assert created_first.status_code == 201
    refused = api.post("/api/clients", json={"email": "eve@example.com"}, headers=KEY)
    assert "another request" in problem_of(refused, 422)["detail"]
    problem_of(api.post("/api/client-lists", json={"email": "ada@example.com"}, headers=KEY), 422)
    assert count(database, Client) == 1


def test_a_key_belongs_to_its_token(api: TestClient, database: Database) -> None:
    plain, _ = database.run(lambda s: create_token(s, "other"))
    api.post("/api/clients", json={"first_name": "Ada", "phone": "+353871234567"}, headers=KEY)
    theirs = api.post(
        "/api/clients",
        json={"first_name": "Eve", "phone": "+353871234568"},
        headers={**KEY, "Authorization": f"Bearer {plain}"},
    )
    assert theirs.json()["first_name"] == "Eve"


def test_a_request_that_was_refused_may_be_mended_under_the_same_key(api: TestClient) -> None:
    problem_of(api.post("/api/clients", json={"email": "not an email"}, headers=KEY), 422)
    assert api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY).status_code == 201


@pytest.mark.parametrize("key", ["", "with space", "ä", "x" * 256])
def test_a_key_has_to_look_like_one(api: TestClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    problem_of(api.post("/api/clients", json={"first_name": "x"}, headers=headers), 400)


def test_what_was_cut_off_is_not_done_again_by_itself(api: TestClient, database: Database) -> None:
    api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY)
    database.run(lambda s: s.execute(update(IdempotencyKey).values(status=None, answer=None)))
    refused = api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY)
    assert "look whether it was done" in problem_of(refused, 409)["detail"]


def test_what_failed_after_its_commit_is_not_done_again_by_itself(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("fastapi.routing.serialize_response", fails)
        problem_of(api.post("/api/templates", json=TEMPLATE, headers=KEY), 500)
    assert count(database, Template) == 1
    refused = api.post("/api/templates", json=TEMPLATE, headers=KEY)
    assert "look whether it was done" in problem_of(refused, 409)["detail"]
    assert count(database, Template) == 1


def test_while_nobody_knows_who_is_asking_nothing_is_done(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("api.door.authenticate", fails_for_a_moment)
        refused = api.post("/api/templates", json=TEMPLATE, headers=KEY)
        assert problem_of(refused, 503)["detail"] == "the database does not answer; try again"
    assert count(database, Template) == 0
    assert api.post("/api/templates", json=TEMPLATE, headers=KEY).status_code == 201


async def fails(**_: Any) -> None:
    raise RuntimeError("something broke")


async def fails_for_a_moment(*_: Any) -> None:
    raise DatabaseOutage("SELECT", {}, Exception("server has gone away"))


def test_who_may_do_less_by_now_is_not_shown_the_answer_again(api: TestClient, database: Database) -> None:
    user_id, headers = user_of(database, Role.EDITOR, "bob")
    body = {"email": "ada@example.com"}
    assert api.post("/api/clients", json=body, headers=KEY | headers).status_code == 201
    api.patch(f"/api/users/{user_id}", json={"role": "viewer"})
    refused = api.post("/api/clients", json=body, headers=KEY | headers)
    assert "ada@" not in refused.text
    problem_of(refused, 422)


def test_a_file_without_its_length_takes_no_key(api: TestClient) -> None:
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\nemail\r\n--x--\r\n'
    ]
    headers = {**KEY, "Content-Type": "multipart/form-data; boundary=x"}
    refused = api.post("/api/member-imports/preview", content=iter(parts), headers=headers)
    assert "Content-Length" in problem_of(refused, 411)["detail"]


def test_a_send_with_a_key_is_one_execution_even_if_it_was_cut_off(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENDGRID_API_KEY", "SG.tests")
    get_settings.cache_clear()
    flow_id = database.run(lambda s: add_campaign(s, clients=1).flow.id)
    first = api.post(f"/api/flows/{flow_id}/send", headers=KEY)
    assert first.status_code == 202, first.text
    assert api.post(f"/api/flows/{flow_id}/send", headers=KEY).json()["id"] == first.json()["id"]
    # The process died after its commit and before the answer was kept: the ledger itself knows the key.
    database.run(lambda s: s.execute(update(IdempotencyKey).values(status=None, answer=None)))
    assert api.post(f"/api/flows/{flow_id}/send", headers=KEY).json()["id"] == first.json()["id"]
    assert count(database, FlowExecution) == 1
    other = api.post(f"/api/flows/{flow_id}/send", headers={"Idempotency-Key": "another"})
    assert other.json()["id"] != first.json()["id"]


def test_of_two_at_the_same_moment_one_is_done(api: TestClient, database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time: no two requests meet")
    barrier, answers = Barrier(4), []

    def post() -> None:
        barrier.wait()
        answers.append(
            api.post("/api/clients", json={"first_name": "Ada", "phone": "+353871234567"}, headers=KEY)
        )

    threads = [Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert any(answer.status_code == 201 for answer in answers)
    assert count(database, Client) == 1


def test_the_kept_answer_holds_nothing_that_can_be_read(api: TestClient, database: Database) -> None:
    api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY)
    with database.reading() as s:
        row = s.scalars(select(IdempotencyKey)).one()
        assert row.answer is not None
        assert b"ada" not in row.answer
        assert KEY["Idempotency-Key"] not in row.key_hash


def test_keys_are_forgotten_after_a_day(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post("/api/clients", json={"email": "ada@example.com"}, headers=KEY)
    monkeypatch.setattr(jackets, "get_database", lambda: database)
    assert jackets.forget_keys.fn() == 0
    database.run(lambda s: s.execute(update(IdempotencyKey).values(created_at=utc_in(-86_500))))
    assert jackets.forget_keys.fn() == 1
    assert count(database, IdempotencyKey) == 0


RESOURCES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("clients", {"email": "ada@example.com"}, {"first_name": "Ada"}),
    ("client-lists", {"name": "VIP", "kind": "static"}, {"description": "best"}),
    ("templates", {"name": "T", "channel": "sms", "text": "Hello"}, {"text": "Hi"}),
    ("flows", {"name": "Spring"}, {"name": "Autumn"}),
    ("users", {"email": "bob@example.com", "name": "Bob"}, {"role": "editor"}),
]


@pytest.mark.parametrize(("resource", "body", "change"), RESOURCES, ids=[each[0] for each in RESOURCES])
def test_a_change_of_what_somebody_else_changed_is_refused(
    api: TestClient, resource: str, body: dict[str, Any], change: dict[str, Any]
) -> None:
    path = f"/api/{resource}/{created(api, f'/api/{resource}', **body)['id']}"
    read = api.get(path)
    etag = read.headers["ETag"]
    assert api.get(path).headers["ETag"] == etag
    changed = api.patch(path, json=change, headers={"If-Match": etag})
    assert changed.status_code == 200, changed.text
    assert changed.headers["ETag"] == api.get(path).headers["ETag"] != etag
    late = api.patch(path, json=change, headers={"If-Match": etag})
    assert "read it again" in problem_of(late, 412)["detail"]
    assert api.patch(path, json=change, headers={"If-Match": "*"}).status_code == 200
    assert api.patch(path, json=change).status_code == 200


def test_a_field_is_changed_by_its_etag_too(api: TestClient) -> None:
    created(api, "/api/custom-fields", key="city", label="City", kind="text")
    etag = api.get("/api/custom-fields/city").headers["ETag"]
    assert (
        api.patch("/api/custom-fields/city", json={"label": "Town"}, headers={"If-Match": etag}).status_code
        == 200
    )
    problem_of(api.patch("/api/custom-fields/city", json={"label": "X"}, headers={"If-Match": etag}), 412)


def test_who_deletes_by_an_old_etag_deletes_nothing(api: TestClient) -> None:
    path = f"/api/clients/{created(api, '/api/clients', email='ada@example.com')['id']}"
    etag = api.get(path).headers["ETag"]
    api.patch(path, json={"first_name": "Ada"})
    problem_of(api.delete(path, headers={"If-Match": etag}), 412)
    assert api.delete(path, headers={"If-Match": api.get(path).headers["ETag"]}).status_code == 204
