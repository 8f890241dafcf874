"""What every route has in common: who may come in, how errors look, and that odd input is never our fault."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api.limits import DEFAULT_BYTES
from db.dialect import utc_in
from db.engine import Database
from db.models import ApiToken
from db.queries.tokens import create_token, revoke_token
from tests.integration.api.answers import created, fields_of, problem_of

PARAMETERS = {"{token}": "x", "{secret}": "x"}


def routes(api: TestClient) -> Iterator[tuple[str, str]]:
    """Method and path of every route in the OpenAPI document, with 1 for each id."""
    assert isinstance(api.app, FastAPI)
    for path, methods in api.app.openapi()["paths"].items():
        filled = "/".join(
            PARAMETERS.get(part, "1") if part.startswith("{") else part for part in path.split("/")
        )
        for method in methods:
            yield method.upper(), filled


def test_no_route_under_api_answers_without_a_token(anonymous: TestClient) -> None:
    public = ("/api/auth/login", "/api/auth/choose-password")
    guarded = [item for item in routes(anonymous) if item[1].startswith("/api/") and item[1] not in public]
    assert len(guarded) > 30
    for method, path in guarded:
        answer = anonymous.request(method, path, json={})
        assert problem_of(answer, 401)["title"] == "Unauthorized", (method, path)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic abc", "Bearer ics_" + "0" * 40, "Bearer \xff\xfe", "bearer  x y"],
)
def test_a_header_that_is_no_token_of_ours_is_refused(anonymous: TestClient, header: str) -> None:
    answer = anonymous.get("/api/clients", headers={"Authorization": header.encode("latin-1")})
    problem_of(answer, 401)


def test_a_revoked_token_opens_nothing(anonymous: TestClient, database: Database) -> None:
    plain, token = database.run(lambda s: create_token(s, "old"))
    headers = {"Authorization": f"Bearer {plain}"}
    assert anonymous.get("/api/auth/me", headers=headers).status_code == 200
    database.run(lambda s: revoke_token(s, token.id))
    problem_of(anonymous.get("/api/auth/me", headers=headers), 401)


def test_a_token_knows_itself_but_not_its_secret(api: TestClient, database: Database) -> None:
    me = api.get("/api/auth/me").json()
    assert (me["name"], me["token"]["hint"][:4]) == ("tests", "ics_")
    assert "hash" not in str(me)
    with database.reading() as s:
        used = s.scalars(select(ApiToken.last_used_at)).one()
        assert s.scalar(select(func.count()).where(ApiToken.last_used_at > utc_in(-5))) == 1
    api.get("/api/auth/me")
    with database.reading() as s:
        assert s.scalars(select(ApiToken.last_used_at)).one() == used


def test_health_is_public(anonymous: TestClient) -> None:
    assert anonymous.get("/health").json() == {"status": "alive"}
    assert anonymous.get("/ready").json() == {"status": "ready"}
    assert anonymous.get("/docs").status_code == 200
    schemes = anonymous.get("/openapi.json").json()["components"]["securitySchemes"]
    assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]


def test_every_route_has_a_name_of_its_own_and_says_how_it_fails(api: TestClient) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    operations = [item for methods in paths.values() for item in methods.values()]
    names = [item["operationId"] for item in operations]
    assert len(set(names)) == len(names)
    for path, methods in paths.items():
        if path.startswith("/api/"):
            assert all({"401", "413", "422"} <= item["responses"].keys() for item in methods.values()), path


def test_what_is_not_there_is_a_problem_document(api: TestClient) -> None:
    assert problem_of(api.get("/api/nothing"), 404)["title"] == "Not Found"
    assert problem_of(api.get("/api/clients/1"), 404)["detail"] == "client 1 does not exist"
    answer = api.put("/api/clients")
    problem_of(answer, 405)
    assert answer.headers["Allow"]


@pytest.mark.parametrize(
    "path", ["clients", "client-lists", "templates", "flows", "unsubscribed", "failed-jobs"]
)
def test_pages_have_bounds(api: TestClient, path: str) -> None:
    assert api.get(f"/api/{path}", params={"cursor": 2**63 - 1}).json() == {"items": [], "next_cursor": None}
    for query in (
        "limit=0",
        "limit=201",
        "cursor=-1",
        f"cursor={2**63}",
        "limit=1.5",
        "nonsense=1",
        "cursor=%00",
    ):
        assert list(fields_of(api.get(f"/api/{path}?{query}"))) == [f"query.{query.split('=')[0]}"]


ODD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"7",
    b'"text"',
    b"NaN",
    b'{"name": NaN}',
    b'{"name": Infinity}',
    b"\xff\xfe\x00",
    b'{"name": "\xed\xa0\x80"}',
    b'{"name": "\\ud800", "email": "\\udfff"}',
    b'{"name": "\\u0000", "email": "\\u0000@example.com"}',
    b'{"\\ud800": 1}',
    b'{"\\u0000": 1}',
    b'{"name": ' + b"9" * 5000 + b"}",
    b'{"client_list_id": 1e400, "client_id": 1e400, "name": "x"}',
    b'{"name": {"a": []}, "steps": {}, "sender": [], "custom_fields": [], "tags": {}}',
    b'{"custom_fields": {"\\ud800": 1}, "email": "a@example.com"}',
    b'{"custom_fields": {"a": "\\ud800"}, "email": "a@example.com"}',
    b'{"custom_fields": {"a": NaN}, "email": "a@example.com"}',
    b'{"custom_fields": {"a": 99999999999999999999}, "email": "a@example.com"}',
    b'{"custom_fields": {"a": ' + b"[" * 400 + b"]" * 400 + b'}, "email": "a@example.com"}',
    b'{"tags": ["\\ud800"], "email": "a@example.com"}',
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"name": "' + b"x" * 100_000 + b'"}',
]


ODD_IDS = ["0", "-1", "x", "%00", "%ff", "9" * 30, "9" * 5000, str(2**63), "1.5", "%F0%9F%92%A5"]
ODD_TEXTS = ["%00", "%ff", "'; --", "%25", "_", "%F0%9F%92%A5", "%ED%A0%80", "\\"]
TAKES_JSON = ("/api/clients", "/api/flows", "/api/templates", "/api/client-lists", "/api/unsubscribed")


def test_no_body_is_an_error_of_ours(api: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    writing = [
        item for item in routes(api) if item[0] in ("POST", "PUT", "PATCH") and item[1].startswith("/api/")
    ]
    writing.remove(("POST", "/api/auth/logout"))  # It takes any body, and the token would be gone.
    for body in ODD_BODIES:
        for method, path in writing:
            answer = api.request(method, path, content=body, headers=headers)
            assert answer.status_code < 500, (method, path, body[:50], answer.text)
        for path in TAKES_JSON:
            answer = api.post(path, content=body, headers=headers)
            assert answer.status_code in (400, 422), (path, body[:50])


def test_a_refusal_does_not_repeat_what_it_was_sent(api: TestClient) -> None:
    body = {"email": "a@example.com", **{f"{number}-{'x' * 5000}": 1 for number in range(150)}}
    answer = api.post("/api/clients", json=body)
    assert len(fields_of(answer)) == 100
    assert len(answer.content) < 100_000


def test_no_id_is_an_error_of_ours(api: TestClient) -> None:
    for item in ODD_IDS:
        for path in ("clients", "client-lists", "templates", "flows", "flow-executions"):
            (field,) = fields_of(api.get(f"/api/{path}/{item}"))
            assert field.startswith("path."), (path, item)
        problem_of(api.delete(f"/api/unsubscribed/{item}"), 422)


def test_no_search_is_an_error_of_ours(api: TestClient) -> None:
    created(api, "/api/clients", email="a@example.com")
    for text in ODD_TEXTS:
        for name in ("q", "email", "tag"):
            answer = api.get(f"/api/clients?{name}={text}")
            assert answer.status_code in (200, 422), (name, text)
            assert answer.json().get("items", []) == []
        for name in ("phone", "field", "value"):
            assert api.get(f"/api/clients?{name}={text}").status_code == 422, (name, text)


def test_a_large_body_is_refused_whatever_its_length_says(api: TestClient) -> None:
    for content in (b" " * (DEFAULT_BYTES + 1), chunks(DEFAULT_BYTES + 1)):
        answer = api.post("/api/clients", content=content, headers={"Content-Type": "application/json"})
        assert "1,048,576 bytes" in problem_of(answer, 413)["detail"]
    fits = b'{"email": "a@example.com"}'.ljust(DEFAULT_BYTES)
    answer = api.post("/api/clients", content=fits, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201


def chunks(size: int) -> Iterator[bytes]:
    """A body without a Content-Length."""
    while size > 0:
        yield b" " * min(size, 65_536)
        size -= 65_536


def test_an_error_of_ours_tells_nothing_about_the_inside(
    api: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("db.queries.clients.get_client", fail)
    problem = problem_of(api.get("/api/clients/1"), 500)
    assert "swordfish" not in str(problem)
    assert problem["title"] == "Internal Server Error"
