"""Custom fields over HTTP: defined once, and then held to wherever a client is written."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from db.engine import Database
from db.models import Client
from db.queries import field_definitions
from tests.builders import add_clients
from tests.integration.api.answers import created, fields_of

URL = "/api/custom-fields"


def define(api: TestClient, key: str, kind: str, **more: Any) -> dict[str, Any]:
    return created(api, URL, key=key, kind=kind, **more)


def client(api: TestClient, email: str = "ann@x.example", **fields: Any) -> dict[str, Any]:
    return created(api, "/api/clients", email=email, custom_fields=fields)


def test_a_field_is_defined_listed_changed_and_deleted(api: TestClient) -> None:
    made = define(api, "plan", "choice", choices=["free", "pro"])
    assert (made["label"], made["choices"]) == ("Plan", ["free", "pro"])
    define(api, "born", "date", label="Birthday")
    assert [field["key"] for field in api.get(URL).json()["items"]] == ["born", "plan"]
    changed = api.patch(f"{URL}/plan", json={"label": "Tariff", "choices": ["free", "pro", "team"]}).json()
    assert (changed["label"], changed["choices"]) == ("Tariff", ["free", "pro", "team"])
    assert api.delete(f"{URL}/born").status_code == 204
    assert api.get(f"{URL}/born").status_code == 404
    assert list(fields_of(api.post(URL, json={"key": "plan", "kind": "text"}), status=409)) == ["body.key"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key": "City", "kind": "text"}, "body.key"),
        ({"key": "", "kind": "text"}, "body.key"),
        ({"key": "city", "kind": "txt"}, "body.kind"),
        ({"key": "city", "kind": "text", "choices": ["a"]}, "body"),
        ({"key": "city", "kind": "choice"}, "body"),
        ({"key": "city", "kind": "choice", "choices": ["a", "A"]}, "body.choices"),
        ({"key": "city", "kind": "text", "unit": "km"}, "body.unit"),
    ],
)
def test_a_bad_definition_is_refused(api: TestClient, body: dict[str, Any], field: str) -> None:
    assert list(fields_of(api.post(URL, json=body))) == [field]


@pytest.mark.parametrize(
    ("kind", "good", "bad", "reason"),
    [
        ("text", "Cork", 3, "text is needed"),
        ("number", 2.5, "2.5", "a number is needed"),
        ("number", 2, True, "a number is needed"),
        ("boolean", False, 0, "true or false is needed"),
        ("date", "2024-02-29", "2023-02-29", "a date such as 2026-11-23 is needed"),
        ("date", "2024-02-29", "29.02.2024", "a date such as 2026-11-23 is needed"),
        ("choice", "pro", "Pro", "one of these is needed: free, pro"),
    ],
)
def test_a_value_has_to_be_of_the_kind(api: TestClient, kind: str, good: Any, bad: Any, reason: str) -> None:
    define(api, "it", kind, choices=["free", "pro"] if kind == "choice" else [])
    made = client(api, it=good)
    assert made["custom_fields"] == {"it": good}
    body = {"email": "bob@x.example", "custom_fields": {"it": bad}}
    assert fields_of(api.post("/api/clients", json=body)) == {"body.custom_fields.it": reason}
    changed = api.patch(f"/api/clients/{made['id']}", json={"custom_fields": {"it": bad}})
    assert fields_of(changed) == {"body.custom_fields.it": reason}
    assert (
        api.patch(f"/api/clients/{made['id']}", json={"custom_fields": {"it": None}}).json()["custom_fields"]
        == {}
    )


def test_an_undefined_field_is_refused_with_the_nearest_one(api: TestClient) -> None:
    define(api, "city", "text")
    found = api.post("/api/clients", json={"email": "a@x.example", "custom_fields": {"citty": "Cork"}})
    ((field, message),) = fields_of(found).items()
    assert field == "body.custom_fields.citty"
    assert "did you mean 'city'?" in message
    assert "/api/custom-fields" in message


def test_a_field_changes_only_where_every_value_still_fits(api: TestClient) -> None:
    define(api, "plan", "text")
    for number, plan in enumerate(("free", "pro", "pro", "Pro")):
        client(api, f"c{number}@x.example", plan=plan)
    to_choice = {"kind": "choice", "choices": ["free", "pro"]}
    refused = api.patch(f"{URL}/plan", json=to_choice)
    assert fields_of(refused, status=409) == {
        "body.kind": "1 client has a value that would not fit; change those first"
    }
    assert api.get(f"{URL}/plan").json()["kind"] == "text"
    assert api.patch(f"{URL}/plan", json={**to_choice, "choices": ["free", "pro", "Pro!"]}).status_code == 409
    [last] = api.get("/api/clients", params={"email": "c3@x.example"}).json()["items"]
    api.patch(f"/api/clients/{last['id']}", json={"custom_fields": {"plan": "pro"}})
    assert api.patch(f"{URL}/plan", json=to_choice).status_code == 200
    less = api.patch(f"{URL}/plan", json={"choices": ["free"]})
    assert fields_of(less, status=409) == {
        "body.choices": "3 clients have a value that would not fit (pro); change those first"
    }
    assert api.patch(f"{URL}/plan", json={"choices": ["pro", "free", "team"]}).status_code == 200
    assert api.patch(f"{URL}/plan", json={"kind": "number"}).status_code == 409
    back = api.patch(f"{URL}/plan", json={"kind": "text"}).json()
    assert (back["kind"], back["choices"]) == ("text", [])
    assert list(fields_of(api.patch(f"{URL}/plan", json={"kind": "choice"}))) == ["body.choices"]
    assert list(fields_of(api.patch(f"{URL}/plan", json={"choices": ["free"]}))) == ["body.choices"]
    assert api.patch(f"{URL}/plan", json={"label": ""}).json()["label"] == "Plan"


@pytest.mark.parametrize(
    ("kind", "value", "fitting"),
    [
        ("text", "2", ["text"]),
        ("text", "1990-02-03", ["text", "date"]),
        ("number", 1, ["number"]),
        ("number", 2.5, ["number"]),
        ("boolean", True, ["boolean"]),
        ("boolean", False, ["boolean"]),
        ("date", "1990-02-03", ["text", "date"]),
    ],
)
def test_a_value_fits_the_same_kinds_on_every_database(
    api: TestClient, kind: str, value: Any, fitting: list[str]
) -> None:
    define(api, "it", kind)
    person = client(api, it=value)
    for other in ("text", "number", "boolean", "date"):
        status = api.patch(f"{URL}/it", json={"kind": other}).status_code
        assert status == (200 if other in fitting else 409), other
        if status == 200:
            assert api.patch(f"{URL}/it", json={"kind": kind}).status_code == 200
    assert api.get(f"/api/clients/{person['id']}").json()["custom_fields"] == {"it": value}


def test_deleting_a_field_with_values_is_said_twice(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_definitions, "PIECE_ROWS", 2)
    for key in ("city", "plan"):
        define(api, key, "text")
    database.run(lambda s: add_clients(s, 5, custom_fields={"city": "Cork", "plan": "pro"}))
    refused = api.delete(f"{URL}/city")
    assert refused.status_code == 409
    assert "5 clients have a value in it; add ?values=delete" in refused.json()["detail"]
    assert api.delete(f"{URL}/city", params={"values": "delete"}).status_code == 204
    with database.reading() as s:
        assert s.scalars(select(Client.custom_fields)).all() == [{"plan": "pro"}] * 5
        assert s.scalar(select(func.count()).select_from(Client)) == 5


def test_a_field_that_a_rule_names_stays_as_it_is(api: TestClient) -> None:
    define(api, "city", "text")
    rule = {"field": "custom.city", "operator": "is", "value": "Cork"}
    created(api, "/api/client-lists", name="Corkonians", kind="dynamic", rule=rule)
    for answer in (api.delete(f"{URL}/city"), api.patch(f"{URL}/city", json={"kind": "number"})):
        assert answer.status_code == 409
        assert "'Corkonians'" in answer.json()["detail"]
    assert api.patch(f"{URL}/city", json={"label": "Town"}).status_code == 200


def test_there_is_an_end_to_fields(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.queries.custom_fields.MAX_FIELDS", 1)
    define(api, "city", "text")
    more = api.post(URL, json={"key": "plan", "kind": "text"})
    assert "there are 1 custom fields, and 1 are possible" in more.json()["detail"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{{ client.custom.born | date: "%d %B %Y" }}', "03 February 1990"),
        ("{{ client.custom.born | date: '%Y' | plus: 40 }}", "2030"),
        ("{% if client.custom.born < '1991-01-01' %}before{% endif %}", "before"),
        ("{% if client.custom.member %}member{% else %}guest{% endif %}", "member"),
        ("{% if client.custom.asked %}yes{% else %}no{% endif %}", "no"),
        ("{% if client.custom.never %}yes{% else %}no{% endif %}", "no"),
        ("{% if client.custom.visits > 2 %}{{ client.custom.visits | plus: 1 }}{% endif %}", "4"),
        ("{{ client.custom.spent | times: 2 | round: 1 }}", "5.0"),
        ("{{ client.custom.visits }} of {{ client.custom.spent }}", "3 of 2.5"),
        ("{% case client.custom.plan %}{% when 'pro' %}Pro!{% endcase %}", "Pro!"),
        ("{{ client.custom.2fa }}{{ client.custom['2fa'] }}", "sms" * 2),
    ],
)
def test_templates_reckon_with_the_kinds(api: TestClient, text: str, shown: str) -> None:
    values: dict[str, tuple[str, Any]] = {
        "born": ("date", "1990-02-03"),
        "member": ("boolean", True),
        "asked": ("boolean", False),
        "visits": ("number", 3),
        "spent": ("number", 2.5),
        "2fa": ("text", "sms"),
    }
    for key, (kind, _) in values.items():
        define(api, key, kind)
    define(api, "plan", "choice", choices=["free", "pro"])
    person = client(api, plan="pro", **{key: value for key, (_, value) in values.items()})
    template = created(api, "/api/templates", name="Card", channel="sms", text=text)
    answer = api.post(f"/api/templates/{template['id']}/preview", json={"client_id": person["id"]}).json()
    assert answer["text"] == shown


def test_a_template_warns_of_fields_that_are_not_defined(api: TestClient) -> None:
    define(api, "city", "text")
    made = created(api, "/api/templates", name="Card", channel="sms", text="{{ client.custom.citty }}")
    assert made["warnings"] == ["client.custom.citty: there is no such custom field; did you mean 'city'?"]
    url = f"/api/templates/{made['id']}"
    assert api.get(url).json()["warnings"] == made["warnings"]
    assert api.patch(url, json={"text": "{{ client.custom.city }}"}).json()["warnings"] == []
    sample = {"sample": {"custom_fields": {"not_yet": "x"}}}
    assert api.post(f"{url}/preview", json=sample).status_code == 200
