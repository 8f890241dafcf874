"""Clients over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from db.engine import Database
from db.fields import FieldKind
from db.models import Client, ClientListMember, FlowExecution
from db.queries import ledger
from db.queries.custom_fields import ensure_custom_fields
from db.states import Channel
from tests.builders import add_campaign, add_clients, prepared, to_sending
from tests.integration.api.answers import created, fields_of, walk


def create(api: TestClient, **values: Any) -> dict[str, Any]:
    return created(api, "/api/clients", **values)


def define(database: Database, **kinds: str) -> None:
    database.run(lambda s: ensure_custom_fields(s, {key: FieldKind(kind) for key, kind in kinds.items()}))


def test_a_client_is_stored_with_its_addresses_in_one_spelling(api: TestClient) -> None:
    client = create(
        api,
        email=" Áine.Byrne@Example.COM ",
        phone="087 123 4567",
        first_name=" Áine ",
        time_zone="Europe/Dublin",
        locale="en-IE",
        tags=["vip", "new", "vip"],
        custom_fields={"city": "Cork", "visits": 3, "score": 1.5, "member": True, "gone": None},
        email_consent="granted",
    )
    assert (client["email"], client["phone"]) == ("áine.byrne@example.com", "+353871234567")
    assert (client["first_name"], client["last_name"], client["tags"]) == ("Áine", "", ["vip", "new"])
    assert client["custom_fields"] == {"city": "Cork", "visits": 3, "score": 1.5, "member": True}
    assert (client["email_consent"], client["sms_consent"]) == ("granted", "unknown")
    assert api.get(f"/api/clients/{client['id']}").json() == client


def test_a_client_needs_an_email_or_a_phone(api: TestClient) -> None:
    assert fields_of(api.post("/api/clients", json={"first_name": "Ann"})) == {
        "body.email": "a client needs an email or a phone"
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "nobody"),
        ("email", "a@localhost"),
        ("email", 7),
        ("email", "a" * 250 + "@example.com"),
        ("phone", "12"),
        ("phone", "+353 1"),
        ("first_name", "x" * 101),
        ("first_name", "two\nlines"),
        ("first_name", "nul\x00"),
        ("first_name", None),
        ("external_id", ""),
        ("time_zone", "Dublin"),
        ("time_zone", "../etc/passwd"),
        ("locale", "en IE"),
        ("tags", ["x"] * 51),
        ("tags", "vip"),
        ("tags.0", [""]),
        ("tags.0", ["nul\x00"]),
        ("custom_fields", {"Größe": 1}),
        ("custom_fields", {"a": [1]}),
        ("custom_fields", {"a": "x" * 1001}),
        ("custom_fields", {"a": 2**63}),
        ("custom_fields", {"a": "nul\x00"}),
        ("custom_fields", {f"f{number}": 1 for number in range(101)}),
        ("email_consent", "maybe"),
        ("is_admin", True),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_field(api: TestClient, field: str, value: Any) -> None:
    body = {"email": "a@example.com", field.removesuffix(".0"): value}
    assert list(fields_of(api.post("/api/clients", json=body))) == [f"body.{field}"]


def test_an_email_belongs_to_one_client(api: TestClient) -> None:
    first = create(api, email="ann@example.com")
    conflict = fields_of(api.post("/api/clients", json={"email": "ANN@example.com"}), status=409)
    assert conflict == {"body.email": f"client {first['id']} has this email already"}


def test_a_phone_belongs_to_one_client_without_an_email(api: TestClient) -> None:
    first = create(api, phone="+353871234567")
    conflict = fields_of(api.post("/api/clients", json={"phone": "0871234567"}), status=409)
    assert conflict == {"body.phone": f"client {first['id']} has this phone already"}
    create(api, phone="+353871234567", email="ann@example.com")


def test_a_change_leaves_what_it_does_not_name(api: TestClient) -> None:
    client = create(
        api,
        email="ann@example.com",
        first_name="Ann",
        tags=["vip"],
        custom_fields={"city": "Cork", "age": 40},
    )
    changed = api.patch(
        f"/api/clients/{client['id']}",
        json={"last_name": "O'Neill", "custom_fields": {"age": None, "plan": "gold"}, "tags": []},
    ).json()
    assert (changed["first_name"], changed["last_name"], changed["tags"]) == ("Ann", "O'Neill", [])
    assert changed["custom_fields"] == {"city": "Cork", "plan": "gold"}
    assert changed["updated_at"] >= client["updated_at"]
    assert api.patch(f"/api/clients/{client['id']}", json={}).json()["last_name"] == "O'Neill"


def test_what_a_client_is_recognised_by_follows_its_addresses(api: TestClient) -> None:
    ann = create(api, email="ann@example.com", phone="+353871234567")
    bob = create(api, email="bob@example.com")
    url = f"/api/clients/{ann['id']}"
    taken = fields_of(api.patch(url, json={"email": "bob@example.com"}), status=409)
    assert taken == {"body.email": f"client {bob['id']} has this email already"}
    assert api.patch(url, json={"email": None}).json()["email"] is None
    create(api, email="ann@example.com")
    fields_of(api.post("/api/clients", json={"phone": "+353871234567"}), status=409)
    assert fields_of(api.patch(url, json={"phone": None})) == {
        "body.email": "a client needs an email or a phone"
    }


def test_custom_fields_do_not_grow_without_end(api: TestClient) -> None:
    client = create(api, email="ann@example.com", custom_fields={f"f{n}": n for n in range(100)})
    more = api.patch(f"/api/clients/{client['id']}", json={"custom_fields": {"one_more": 1}})
    assert fields_of(more) == {"body.custom_fields": "a client has at most 100 custom fields"}


def test_pages_follow_each_other_without_gaps(api: TestClient) -> None:
    ids = [create(api, email=f"c{number}@example.com")["id"] for number in range(5)]
    assert [item["id"] for item in walk(api, "/api/clients")] == ids


def test_clients_are_found_by_email_its_beginning_and_phone(api: TestClient) -> None:
    for email in ("ann@example.com", "anna@example.com", "bob@example.com", "a%b_c@example.com"):
        create(api, email=email)
    create(api, phone="+353871234567")

    def found(**params: str) -> list[str]:
        items = api.get("/api/clients", params=params).json()["items"]
        return [item["email"] or item["phone"] for item in items]

    assert found(email="ANN@example.com") == ["ann@example.com"]
    assert found(q="Ann") == ["ann@example.com", "anna@example.com"]
    assert found(q="a%") == ["a%b_c@example.com"]
    assert found(phone="+353871234567") == ["+353871234567"]
    assert found(q="zz") == []
    assert list(fields_of(api.get("/api/clients", params={"q": "a", "email": "a@example.com"}))) == [
        "query.q"
    ]


def test_one_box_finds_emails_phones_and_names(api: TestClient) -> None:
    create(api, email="ann@example.com", phone="087 123 4567", first_name="Zita", last_name="Quinn")
    create(api, email="quinlan@example.com", first_name="Bob", last_name="Ryan")
    create(api, email="c@example.com", first_name="Quincy", last_name="Ryan")

    def found(q: str, **more: str) -> list[str]:
        items = api.get("/api/clients", params={"q": q, **more}).json()["items"]
        return [item["email"] for item in items]

    assert found("quin") == ["quinlan@example.com", "ann@example.com", "c@example.com"]
    assert found("zita q") == ["ann@example.com"]
    assert found("ann@") == ["ann@example.com"]
    assert found("087 12") == found("+353 8712") == found("0035387 12") == ["ann@example.com"]
    assert found("088 12") == []


def test_clients_are_found_by_tag_and_custom_field(api: TestClient, database: Database) -> None:
    define(database, city="text", visits="number", born="date", member="boolean")
    create(
        api,
        email="ann@example.com",
        tags=["vip", "old"],
        custom_fields={"city": "Cork", "visits": 3, "born": "1990-02-03", "member": True},
    )
    create(api, email="bob@example.com", tags=["vip"], custom_fields={"city": "Dublin"})

    def found(**params: str) -> list[str]:
        items = api.get("/api/clients", params=params).json()["items"]
        return [item["email"] for item in items]

    assert found(tag="vip") == ["ann@example.com", "bob@example.com"]
    assert found(tag="vi") == []
    assert found(field="city", value="cork") == found(tag="vip", field="city", value="Cork")
    assert found(field="city", value="Cork", q="bob") == []
    for key, value in (("visits", "3"), ("born", "1990-02-03"), ("member", "true")):
        assert found(field=key, value=value) == ["ann@example.com"], key


@pytest.mark.parametrize(
    ("params", "errors"),
    [
        (
            {"field": "cty", "value": "x"},
            {"query.field": "there is no custom field 'cty'; did you mean 'city'?"},
        ),
        ({"field": "city"}, {"query.value": "give field and value together"}),
        ({"value": "x"}, {"query.field": "give field and value together"}),
        ({"field": "visits", "value": "x"}, {"query.value": "a number such as 12.5 is needed"}),
        ({"field": "member", "value": "x"}, {"query.value": "true or false is needed"}),
        ({"phone": "12"}, {"query.phone": "not a valid number in IE or with a country code"}),
    ],
)
def test_a_bad_search_says_what_would_be_right(
    api: TestClient, database: Database, params: dict[str, str], errors: dict[str, str]
) -> None:
    define(database, city="text", visits="number", member="boolean")
    assert fields_of(api.get("/api/clients", params=params)) == errors


def test_a_search_comes_by_pages_in_the_order_of_the_emails(api: TestClient) -> None:
    emails = [f"c{number}@example.com" for number in (5, 3, 1, 4, 2)]
    ids = {email: create(api, email=email)["id"] for email in emails}
    create(api, email="other@example.com")
    assert [item["email"] for item in walk(api, "/api/clients", q="C")] == sorted(emails)
    cursor = api.get("/api/clients", params={"q": "c", "limit": 2}).json()["next_cursor"]
    assert cursor == ids["c2@example.com"]
    api.delete(f"/api/clients/{cursor}")
    gone = fields_of(api.get("/api/clients", params={"q": "c", "limit": 2, "cursor": cursor}))
    assert gone == {"query.cursor": "the client it names is gone; begin again without it"}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=201", "limit=x", "cursor=-1", f"cursor={2**63}", "cursor=" + "9" * 5000, "mail=a"],
)
def test_a_bad_or_unknown_parameter_is_refused(api: TestClient, query: str) -> None:
    assert list(fields_of(api.get(f"/api/clients?{query}"))) == [f"query.{query.split('=')[0]}"]


def test_a_deleted_client_is_gone_and_the_ledger_stays(api: TestClient, database: Database) -> None:
    def campaign(s: Any) -> tuple[int, int]:
        execution = prepared(s, add_campaign(s, clients=1))
        return execution.id, execution.flow_id

    execution_id, _ = database.run(campaign)
    client_id = api.get("/api/clients").json()["items"][0]["id"]
    url = f"/api/clients/{client_id}"
    messages = api.get(f"{url}/messages").json()["items"]
    assert [(item["execution_id"], item["state"]) for item in messages] == [(execution_id, "pending")]
    assert api.delete(url).status_code == 204
    for gone in (api.get(url), api.patch(url, json={}), api.delete(url)):
        assert gone.status_code == 404
        assert gone.json()["detail"] == f"client {client_id} does not exist"
    ledger = api.get(f"/api/flow-executions/{execution_id}/messages").json()["items"]
    assert [item["client_id"] for item in ledger] == [client_id]
    assert api.get(f"{url}/messages").json()["items"] == messages


def test_only_of_a_client_who_never_was_there_are_no_messages_to_read(
    api: TestClient, database: Database
) -> None:
    [client_id] = database.run(lambda s: add_clients(s, 1))
    assert api.get(f"/api/clients/{client_id}/messages").json() == {"items": [], "next_cursor": None}
    assert api.get(f"/api/clients/{client_id + 1}/messages").status_code == 404


def test_the_messages_of_a_client_say_where_they_belong_and_come_newest_first(
    api: TestClient, database: Database
) -> None:
    def given(s: Any) -> tuple[int, list[FlowExecution]]:
        first = add_campaign(s, clients=2)
        second = add_campaign(s, name="Autumn", channel=Channel.SMS)
        clients = list(s.scalars(select(Client.id).order_by(Client.id)))
        s.add_all([ClientListMember(client_list_id=second.client_list.id, client_id=key) for key in clients])
        s.flush()
        return clients[0], [prepared(s, campaign) for campaign in (first, second, first)]

    client_id, made = database.run(given)
    batch = database.run(lambda s: ledger.claim_batch(s, made[1].id, lease_seconds=60))
    assert batch is not None
    database.run(lambda s: to_sending(s, batch))

    items = walk(api, f"/api/clients/{client_id}/messages")
    assert [item["execution_id"] for item in items] == [made[2].id, made[1].id, made[0].id]
    assert [item["state"] for item in items] == ["pending", "sending", "pending"]
    assert [item["channel"] for item in items] == ["email", "sms", "email"]
    assert {(item["flow_id"], item["step"]) for item in items} == {
        (execution.flow_id, 1) for execution in made
    }
    assert items[1]["reference"] == f"{made[1].uid}-{items[1]['id']}"
    other = api.get(f"/api/clients/{client_id + 1}/messages").json()["items"][0]["id"]
    for cursor in (other, 10**6):
        answer = api.get(f"/api/clients/{client_id}/messages", params={"cursor": cursor})
        assert list(fields_of(answer)) == ["query.cursor"]
