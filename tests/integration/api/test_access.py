"""Who may come in, and what he may do: logins, tokens, users, roles and abilities."""

import json
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api.routers import access
from db.dialect import utc_in
from db.engine import Database, Session
from db.models import ApiToken, Event, Message, User
from db.queries.tokens import NewToken, create_token, insert_token, is_well_formed, revoke_token
from db.queries.users import get_user, insert_user, set_password
from db.states import Role
from tasks.access import logins
from tasks.access.abilities import ABILITIES_OF, Ability, abilities_of
from tasks.access.callers import Caller
from tasks.access.passwords import hash_password, is_password
from tests.builders import add_campaign, prepared
from tests.integration.api.answers import created, fields_of, problem_of
from tests.integration.api.running import RunningApi

PASSWORD = "seven llamas hum quietly"
OTHER = "umbrella gravel dolphin tax"
PUBLIC = {
    "/health",
    "/ready",
    "/metrics",
    "/unsubscribe/{token}",
    "/api/auth/login",
    "/api/auth/choose-password",
}


@pytest.fixture(scope="module")
def password_hash() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def ada(database: Database, password_hash: str) -> User:
    return database.run(
        lambda s: insert_user(
            s, email="ada@example.com", name="Ada", role=Role.ADMIN, password_hash=password_hash
        )
    )


def log_in(api: TestClient, email: str = "ada@example.com", password: str = PASSWORD) -> dict[str, str]:
    answer = api.post("/api/auth/login", json={"email": email, "password": password})
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def user_of(database: Database, role: Role, name: str) -> tuple[int, dict[str, str]]:
    """The id of a new user of this role, and headers with his token."""
    email = f"{name.lower()}-{role}@example.com"

    def work(session: Session) -> tuple[int, str]:
        user = insert_user(session, email=email, name=name, role=role)
        return user.id, insert_token(session, NewToken("tests", user_id=user.id))[0]

    user_id, plain = database.run(work)
    return user_id, {"Authorization": f"Bearer {plain}"}


def holder(database: Database, role: Role, *, name: str = "Bob") -> dict[str, str]:
    """Headers with the token of a new user of this role."""
    return user_of(database, role, name)[1]


def operations(api: TestClient) -> Iterator[tuple[str, str, set[str]]]:
    """Method, path with 1 for each parameter, and abilities, of every route that stands in the description."""
    assert isinstance(api.app, FastAPI)
    for path, methods in api.app.openapi()["paths"].items():
        for method, item in methods.items():
            security = item.get("security", [])
            abilities = {name for each in security for names in each.values() for name in names}
            yield method.upper(), path, abilities


def test_a_password_opens_a_session_that_ends_with_logout(anonymous: TestClient, ada: User) -> None:
    answer = anonymous.post("/api/auth/login", json={"email": " ADA@example.com ", "password": PASSWORD})
    document = answer.json()
    assert (document["kind"], document["user"]["email"]) == ("session", "ada@example.com")
    assert "hash" not in answer.text
    headers = {"Authorization": f"Bearer {document['token']}"}
    me = anonymous.get("/api/auth/me", headers=headers).json()
    assert (me["name"], me["role"], me["user_id"]) == ("Ada", "admin", ada.id)
    assert set(me["abilities"]) == set(Ability)
    assert anonymous.post("/api/auth/logout", headers=headers).status_code == 204
    problem_of(anonymous.get("/api/auth/me", headers=headers), 401)


@pytest.mark.parametrize(
    ("email", "password"),
    [("ada@example.com", OTHER), ("eve@example.com", PASSWORD), ("ada@example.com", "x"), ("x", "x" * 128)],
)
def test_what_is_wrong_with_a_login_is_not_told(
    anonymous: TestClient, ada: User, email: str, password: str
) -> None:
    answer = anonymous.post("/api/auth/login", json={"email": email, "password": password})
    assert problem_of(answer, 401)["detail"] == "email or password is wrong"


def test_a_password_is_tried_a_few_times_only_and_success_gives_the_tries_back(
    anonymous: TestClient, database: Database, password_hash: str
) -> None:
    # An account of its own: the counts are those of the process.
    email = f"{uuid4().hex}@example.com"
    database.run(
        lambda s: insert_user(s, email=email, name="T", role=Role.VIEWER, password_hash=password_hash)
    )
    for _ in range(4):
        problem_of(anonymous.post("/api/auth/login", json={"email": email, "password": OTHER}), 401)
    log_in(anonymous, email)
    for _ in range(5):
        problem_of(anonymous.post("/api/auth/login", json={"email": email, "password": OTHER}), 401)
    refused = anonymous.post("/api/auth/login", json={"email": email, "password": PASSWORD})
    assert "try again in 15 minutes" in problem_of(refused, 429)["detail"]
    assert 890 < int(refused.headers["Retry-After"]) <= 900
    problem_of(anonymous.post("/api/auth/login", json={"email": f"eve-{email}", "password": OTHER}), 401)


def test_who_is_not_active_is_out_at_once(
    api: TestClient, anonymous: TestClient, database: Database, ada: User
) -> None:
    bob = holder(database, Role.EDITOR)
    user_id = api.get("/api/auth/me", headers=bob).json()["user_id"]
    assert api.patch(f"/api/users/{user_id}", json={"active": False}).json()["active"] is False
    problem_of(api.get("/api/auth/me", headers=bob), 401)
    # Active again, he needs a new token: the old ones were revoked.
    api.patch(f"/api/users/{user_id}", json={"active": True})
    problem_of(api.get("/api/auth/me", headers=bob), 401)


def test_an_invited_user_chooses_a_password_once(api: TestClient, database: Database) -> None:
    invited = created(api, "/api/users", email="Bob@Example.com", name="Bob", role="editor")
    assert invited["email"] == "bob@example.com"
    link = invited["password_link"]
    body = {"link": link, "password": PASSWORD}
    refused = api.post("/api/auth/login", json={"email": "bob@example.com", "password": ""})
    problem_of(refused, 401)
    short = fields_of(api.post("/api/auth/choose-password", json={**body, "password": "x"}))
    assert short == {"body.password": "Value should have at least 12 characters, not 1"}
    easy = api.post("/api/auth/choose-password", json={**body, "password": "bob@example.com1"})
    assert "easy to guess" in fields_of(easy)["body.password"]
    assert api.post("/api/auth/choose-password", json=body).status_code == 204
    problem_of(api.post("/api/auth/choose-password", json={**body, "password": OTHER}), 404)
    log_in(api, "bob@example.com")
    problem_of(api.post("/api/users", json={"email": "bob@example.com", "name": "B", "role": "viewer"}), 409)


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1] + "x", lambda t: "9" + t, lambda t: "", lambda t: t + "0"]
)
def test_a_password_link_that_was_changed_is_worth_nothing(api: TestClient, change: object) -> None:
    link = created(api, "/api/users", email="bob@example.com", name="Bob")["password_link"]
    answer = api.post("/api/auth/choose-password", json={"link": change(link) or "-", "password": PASSWORD})  # type: ignore[operator]
    problem_of(answer, 404)


def test_another_password_ends_the_other_sessions(anonymous: TestClient, ada: User) -> None:
    first, second = log_in(anonymous), log_in(anonymous)
    body = {"old_password": OTHER, "password": OTHER}
    problem_of(anonymous.put("/api/auth/password", json=body, headers=first), 401)
    body["old_password"] = PASSWORD
    assert anonymous.put("/api/auth/password", json=body, headers=first).status_code == 204
    assert anonymous.get("/api/auth/me", headers=first).status_code == 200
    problem_of(anonymous.get("/api/auth/me", headers=second), 401)
    log_in(anonymous, password=OTHER)


def test_a_token_of_a_user_is_shown_once_expires_and_is_only_his(
    anonymous: TestClient, database: Database, ada: User
) -> None:
    mine = log_in(anonymous)
    made = anonymous.post(
        "/api/auth/tokens", json={"name": "till", "abilities": ["clients:read"]}, headers=mine
    )
    assert made.status_code == 201
    plain, token_id = made.json()["token"], made.json()["id"]
    with database.reading() as s:
        assert s.scalars(
            select(ApiToken.id).where(
                ApiToken.id == token_id,
                ApiToken.expires_at.between(utc_in(89.9 * 86400), utc_in(90.1 * 86400)),
            )
        ).all() == [token_id]
    listed = anonymous.get("/api/auth/tokens", headers=mine)
    assert plain not in listed.text
    assert {each["name"] for each in listed.json()["items"]} == {"till", "login"}

    till = {"Authorization": f"Bearer {plain}"}
    assert anonymous.get("/api/clients", headers=till).status_code == 200
    assert "clients:write" in problem_of(anonymous.post("/api/clients", json={}, headers=till), 403)["detail"]
    problem_of(anonymous.get("/api/auth/tokens", headers=till), 403)
    assert anonymous.get("/api/auth/me", headers=till).json()["abilities"] == ["account:own", "clients:read"]

    somebody = holder(database, Role.ADMIN)
    problem_of(anonymous.delete(f"/api/auth/tokens/{token_id}", headers=somebody), 404)
    assert anonymous.delete(f"/api/auth/tokens/{token_id}", headers=mine).status_code == 204
    problem_of(anonymous.get("/api/clients", headers=till), 401)


def test_an_expired_token_opens_nothing(anonymous: TestClient, database: Database) -> None:
    plain, token = database.run(lambda s: create_token(s, "old", lifetime=timedelta(days=1)))
    headers = {"Authorization": f"Bearer {plain}"}
    assert anonymous.get("/api/auth/me", headers=headers).status_code == 200
    database.run(
        lambda s: s.execute(update(ApiToken).where(ApiToken.id == token.id).values(expires_at=utc_in(-1)))
    )
    problem_of(anonymous.get("/api/auth/me", headers=headers), 401)


def test_nobody_gives_more_than_he_has(anonymous: TestClient, database: Database) -> None:
    editor = holder(database, Role.EDITOR)
    body = {"name": "x", "abilities": ["users:write"]}
    assert (
        "users:write"
        in problem_of(anonymous.post("/api/auth/tokens", json=body, headers=editor), 403)["detail"]
    )
    body["abilities"] = ["account:manage", "clients:read"]
    plain = anonymous.post("/api/auth/tokens", json=body, headers=editor).json()["token"]
    narrow = {"Authorization": f"Bearer {plain}"}
    child = anonymous.post("/api/auth/tokens", json={"name": "y"}, headers=narrow).json()
    assert child["abilities"] == ["account:manage", "clients:read"]


def test_the_last_admin_stays_one(api: TestClient, ada: User) -> None:
    for change in ({"role": "editor"}, {"active": False}):
        problem_of(api.patch(f"/api/users/{ada.id}", json=change), 409)
    other = created(api, "/api/users", email="bob@example.com", name="Bob", role="admin")
    assert api.patch(f"/api/users/{ada.id}", json={"role": "editor"}).json()["role"] == "editor"
    problem_of(api.patch(f"/api/users/{other['id']}", json={"active": False}), 409)


def test_a_role_that_is_taken_away_is_gone_at_once(
    api: TestClient, anonymous: TestClient, database: Database
) -> None:
    bob = holder(database, Role.EDITOR)
    user_id = api.get("/api/auth/me", headers=bob).json()["user_id"]
    body = {"name": "VIP", "kind": "static"}
    assert api.post("/api/client-lists", json=body, headers=bob).status_code == 201
    api.patch(f"/api/users/{user_id}", json={"role": "viewer"})
    problem_of(api.post("/api/client-lists", json={**body, "name": "B"}, headers=bob), 403)


def test_a_viewer_reads_no_address_in_what_others_said(
    api: TestClient, anonymous: TestClient, database: Database
) -> None:
    client = created(api, "/api/clients", email="grace@example.com", first_name="Grace")
    link = "https://shop.example.com/unsubscribe/1-2-3?who=grace@example.com"

    def work(session: Session) -> int:
        campaign = add_campaign(session, clients=1)
        execution = prepared(session, campaign)
        message = session.scalars(select(Message).where(Message.execution_id == execution.id)).one()
        message.client_id = client["id"]
        for number, kind in enumerate(("bounce", "click")):
            session.add(
                Event(
                    provider="sendgrid",
                    raw={},
                    fingerprint=bytes([number]) * 16,
                    kind=kind,
                    execution_id=execution.id,
                    message_id=message.id,
                    client_id=client["id"],
                    occurred_at=datetime.now(UTC),
                    reason="550 <grace@example.com> unknown",
                    url=link,
                )
            )
        return execution.id

    execution_id = database.run(work)
    suppression = {"channel": "email", "address": "heinz@example.com", "note": "heinz@example.com rang"}
    created(api, "/api/unsubscribed", **suppression)
    rule = {"any": [{"field": "email", "operator": "begins_with", "value": "grace@"}]}
    named = created(api, "/api/client-lists", name="G", kind="dynamic", rule=rule)
    viewer, editor = holder(database, Role.VIEWER), holder(database, Role.EDITOR)
    paths = (
        f"/api/clients/{client['id']}/timeline",
        f"/api/flow-executions/{execution_id}/links",
        f"/api/flow-executions/{execution_id}/links?format=csv",
        "/api/unsubscribed",
        f"/api/client-lists/{named['id']}",
    )
    for path in paths:
        assert re.search("grace@|heinz@", api.get(path, headers=editor).text), path
        shown = api.get(path, headers=viewer)
        assert shown.status_code == 200
        assert not re.search("grace@|heinz@|1-2-3", shown.text), path
    problem_of(api.get(f"/api/client-lists/{named['id']}/explain", headers=viewer), 403)
    assert api.get(f"/api/client-lists/{named['id']}/explain", headers=editor).status_code == 200


def test_who_may_not_see_addresses_does_not_find_them_by_rules(api: TestClient) -> None:
    abilities = ["lists:read", "lists:write", "clients:write", "clients:read"]
    token = created(api, "/api/auth/tokens", name="t", abilities=abilities)["token"]
    headers = {"Authorization": f"Bearer {token}"}
    rule = {"not": {"all": [{"field": "phone", "operator": "begins_with", "value": "+353"}]}}
    listed = created(api, "/api/client-lists", name="L", kind="dynamic", rule={"not": rule})
    for method, path, body in (
        ("POST", "/api/client-lists/preview", {"rule": rule}),
        ("POST", "/api/client-lists", {"name": "X", "kind": "dynamic", "rule": rule}),
        ("PATCH", f"/api/client-lists/{listed['id']}", {"rule": rule}),
        ("POST", "/api/bulk-operations/count", {"rule": rule}),
        ("POST", "/api/bulk-operations", {"action": "add_tags", "tags": ["x"], "rule": rule}),
    ):
        refused = problem_of(api.request(method, path, json=body, headers=headers), 403)
        assert "contacts:read" in refused["detail"], path


def test_a_token_that_is_revoked_while_its_body_comes_does_nothing_more(
    running: RunningApi, database: Database
) -> None:
    body = json.dumps({"name": "thief"}).encode()
    head = (
        f"POST /api/auth/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", running.port)) as thief:
        thief.sendall(head + body[:5])
        # Long enough that who it was has to be looked up again.
        time.sleep(1.2)
        database.run(lambda s: revoke_token(s, running.token_id))
        thief.sendall(body[5:])
        assert thief.recv(4096).startswith(b"HTTP/1.1 401 ")
    with database.reading() as s:
        assert s.scalar(select(func.count()).select_from(ApiToken).where(ApiToken.name == "thief")) == 0


def test_a_token_is_not_made_by_one_that_is_revoked_at_that_moment(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = access._narrowed

    def revoked_meanwhile(caller: Caller, wanted: list[Ability] | None) -> list[str] | None:
        database.run(lambda s: revoke_token(s, caller.id))
        return real(caller, wanted)

    monkeypatch.setattr(access, "_narrowed", revoked_meanwhile)
    problem_of(api.post("/api/auth/tokens", json={"name": "thief"}), 401)


def test_a_login_under_way_does_not_survive_another_password(
    anonymous: TestClient, database: Database, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = hash_password(OTHER)

    def changed_meanwhile(stored: str | None, given: str) -> bool:
        fits = is_password(stored, given)
        if fits:
            database.run(lambda s: set_password(s, ada.id, other))
        return fits

    monkeypatch.setattr(logins, "is_password", changed_meanwhile)
    monkeypatch.setattr(logins, "is_outdated", lambda _: True)
    answer = anonymous.post("/api/auth/login", json={"email": "ada@example.com", "password": PASSWORD})
    problem_of(answer, 401)
    monkeypatch.undo()
    with database.reading() as s:
        assert is_password(get_user(s, ada.id).password_hash, OTHER)


def test_a_token_of_nobody_ends_no_other_that_can_do_more(api: TestClient, database: Database) -> None:
    plain, _ = database.run(lambda s: create_token(s, "screen", role=Role.VIEWER))
    viewer = {"Authorization": f"Bearer {plain}"}
    mine = created(api, "/api/auth/tokens", name="till")
    refused = api.delete(f"/api/auth/tokens/{mine['id']}", headers=viewer)
    problem_of(refused, 403)
    other = database.run(lambda s: create_token(s, "wall", role=Role.VIEWER))[1]
    assert api.delete(f"/api/auth/tokens/{other.id}", headers=viewer).status_code == 204


def test_what_a_token_makes_does_not_outlive_it(api: TestClient) -> None:
    parent = created(api, "/api/auth/tokens", name="day", expires_in_days=1)
    headers = {"Authorization": f"Bearer {parent['token']}"}
    child = api.post("/api/auth/tokens", json={"name": "year", "expires_in_days": 366}, headers=headers)
    assert child.json()["expires_at"] == parent["expires_at"]


def test_every_route_under_api_names_one_ability(api: TestClient) -> None:
    known = {each.value for each in Ability}
    unnamed = [
        (method, path)
        for method, path, abilities in operations(api)
        if path.startswith("/api/")
        and path not in PUBLIC
        and not (len(abilities) == 1 and abilities <= known)
    ]
    assert unnamed == []


def test_no_route_is_public_that_is_not_meant_to_be(anonymous: TestClient) -> None:
    open_routes = {path for _, path, abilities in operations(anonymous) if not abilities}
    assert {
        path for path in open_routes if not path.startswith(("/webhooks/", "/p/", "/assets/"))
    } <= PUBLIC | {
        "/sitemap.xml",
        "/robots.txt",
    }


@pytest.mark.parametrize("role", list(Role))
def test_each_role_reaches_what_its_abilities_name_and_nothing_else(
    anonymous: TestClient, database: Database, role: Role
) -> None:
    headers = holder(database, role)
    refused, reached = 0, 0
    for method, path, abilities in operations(anonymous):
        if not abilities or path in ("/api/auth/logout", "/api/flow-executions/{execution_id}/events"):
            continue
        url = re.sub(r"\{[^}]+\}", "999999", path)
        answer = anonymous.request(method, url, json={}, headers=headers)
        may = Ability(next(iter(abilities))) in ABILITIES_OF[role]
        # Not logged out on the way, and nothing is answered with data that the role may not see.
        assert answer.status_code != 401, (method, path)
        assert (answer.status_code == 403) == (not may), (method, path, answer.status_code)
        refused, reached = refused + (not may), reached + may
    assert reached > 40
    assert (refused == 0) == (role is Role.ADMIN)


def test_a_viewer_changes_sends_and_exports_nothing(anonymous: TestClient) -> None:
    for method, path, abilities in operations(anonymous):
        for ability in map(Ability, abilities):
            if ability.value.startswith("account:"):
                continue
            if ability in ABILITIES_OF[Role.VIEWER]:
                assert ability.action == "read", (method, path)
                # What is read by POST changes nothing: it only has too much to ask for an address.
                assert method == "GET" or path.endswith(("/count", "/explain", "/dry-run", "/live-ticket")), (
                    method,
                    path,
                )


def test_a_token_that_names_no_known_ability_can_only_look_at_itself() -> None:
    assert abilities_of(Role.ADMIN, ["gone:read"]) == {Ability.ACCOUNT_OWN}
    assert abilities_of(Role.VIEWER, [Ability.USERS_WRITE]) == {Ability.ACCOUNT_OWN}


def test_a_token_tells_by_its_checksum_whether_it_can_be_one(database: Database) -> None:
    plain, _ = database.run(lambda s: create_token(s, "till"))
    assert is_well_formed(plain)
    assert not is_well_formed(plain[:-1] + ("a" if plain[-1] != "a" else "b"))
    assert is_well_formed("ics_" + "0" * 40)


def test_a_viewer_sees_addresses_masked_and_cannot_ask_for_them(
    api: TestClient, anonymous: TestClient, database: Database
) -> None:
    client = created(
        api, "/api/clients", email="grace@example.com", phone="+353871234567", first_name="Grace"
    )
    created(api, "/api/unsubscribed", channel="email", address="heinz@example.com")
    viewer, editor = holder(database, Role.VIEWER), holder(database, Role.EDITOR)
    for path in (f"/api/clients/{client['id']}", "/api/clients?q=Grace", "/api/unsubscribed"):
        shown = api.get(path, headers=viewer)
        assert shown.status_code == 200
        assert "grace@" not in shown.text
        assert "heinz@" not in shown.text
        assert "1234567" not in shown.text
    one = api.get(f"/api/clients/{client['id']}", headers=viewer).json()
    assert (one["email"], one["phone"], one["first_name"]) == ("g•••@example.com", "+353•••67", "Grace")
    whole = api.get(f"/api/clients/{client['id']}", headers=editor).json()
    assert whole["email"] == "grace@example.com"
    for query in ("email=grace@example.com", "phone=%2B353871234567", "q=grace@", "q=%2B35387"):
        assert "contacts:read" in problem_of(api.get(f"/api/clients?{query}", headers=viewer), 403)["detail"]
        assert len(api.get(f"/api/clients?{query}", headers=editor).json()["items"]) == 1
    problem_of(api.get("/api/unsubscribed?address=heinz@example.com", headers=viewer), 403)
    # A name is searched for in names only: a beginning of an email would tell as much.
    created(api, "/api/clients", email="zuse@example.com", first_name="Konrad")
    assert api.get("/api/clients?q=zuse", headers=viewer).json()["items"] == []
    assert len(api.get("/api/clients?q=zuse", headers=editor).json()["items"]) == 1
