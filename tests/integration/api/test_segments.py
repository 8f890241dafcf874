"""Dynamic lists and their rules over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from sqlalchemy import select

from db.engine import Database
from db.fields import FieldKind
from db.models import CustomField, FormerMember
from db.queries import list_counts
from settings import get_settings
from tests.builders import add_clients
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/client-lists"
CORK = {"all": [{"field": "custom.city", "operator": "is", "value": "cork"}]}


@pytest.fixture
def ids(database: Database) -> list[int]:
    """Six clients, of whom the first four live in Cork."""
    database.run(lambda s: s.add(CustomField(key="city", label="City", kind=FieldKind.TEXT)))
    found = database.run(lambda s: add_clients(s, 4, custom_fields={"city": "Cork"}))
    for number in range(2):
        found += database.run(lambda s, n=number: add_clients(s, 1, email=f"other{n}@example.com"))  # type: ignore[misc]
    return found


def test_a_dynamic_list_lives_as_a_static_one_does(api: TestClient, ids: list[int]) -> None:
    made = created(api, URL, name="In Cork", kind="dynamic", rule=CORK)
    url = f"{URL}/{made['id']}"
    assert (made["kind"], made["rule"], made["member_count"], made["count_kind"]) == (
        "dynamic",
        CORK,
        4,
        "live",
    )
    assert [item["id"] for item in walk(api, f"{url}/members")] == ids[:4]
    changed = api.patch(url, json={"rule": {"not": CORK}}).json()
    assert (changed["rule"], changed["member_count"]) == ({"not": CORK}, 2)
    assert [item["id"] for item in walk(api, f"{url}/members")] == ids[4:]
    assert [(item["id"], item["member_count"]) for item in walk(api, URL)] == [(made["id"], 2)]
    assert api.delete(url).status_code == 204


def test_a_bad_rule_is_refused_by_the_part_that_is_wrong(api: TestClient, ids: list[int]) -> None:
    bad = {"all": [CORK, {"field": "custom.citi", "operator": "is", "value": "Cork"}]}
    expected = {"body.rule.all.1.field": "there is no field 'custom.citi'; did you mean 'custom.city'?"}
    assert fields_of(api.post(URL, json={"name": "A", "kind": "dynamic", "rule": bad})) == expected
    assert fields_of(api.post(f"{URL}/preview", json={"rule": bad})) == expected
    assert fields_of(api.post(f"{URL}/explain", json={"rule": bad})) == expected
    missing = {"body.rule": "a dynamic list needs the rule that says who is on it"}
    assert fields_of(api.post(URL, json={"name": "A", "kind": "dynamic"})) == missing
    made = created(api, URL, name="A", kind="dynamic", rule=CORK)
    assert fields_of(api.patch(f"{URL}/{made['id']}", json={"rule": bad})) == expected
    assert fields_of(api.patch(f"{URL}/{made['id']}", json={"rule": None})).keys() == {"body.rule"}


def test_a_list_stays_of_its_kind_and_the_way_out_is_told(api: TestClient) -> None:
    made = created(api, URL, name="A")
    found = fields_of(api.patch(f"{URL}/{made['id']}", json={"kind": "dynamic"}), 409)
    assert found["body.kind"].startswith("a list stays static; create a dynamic list with the rule {")
    assert api.patch(f"{URL}/{made['id']}", json={"kind": "static"}).status_code == 200


def test_members_of_a_dynamic_list_are_not_chosen_by_hand(api: TestClient, ids: list[int]) -> None:
    made = created(api, URL, name="In Cork", kind="dynamic", rule=CORK)
    url = f"{URL}/{made['id']}/members"
    for answer in (
        api.post(url, json={"client_ids": ids[:1]}),
        api.request("DELETE", url, json={"client_ids": ids[:1]}),
    ):
        assert "its members follow from its rule" in problem_of(answer, 409)["detail"]


def test_who_took_a_client_off_is_written_down(api: TestClient, ids: list[int], database: Database) -> None:
    made = created(api, URL, name="A")
    url = f"{URL}/{made['id']}/members"
    api.post(url, json={"client_ids": ids})
    api.request("DELETE", url, json={"client_ids": ids[:1]})
    assert api.delete(f"{URL}/{made['id']}").status_code == 204
    with database.reading() as s:
        rows = s.execute(select(FormerMember.client_id, FormerMember.removed_by).order_by(FormerMember.id))
        assert [tuple(row) for row in rows] == [(client_id, "token tests") for client_id in ids]


def test_a_rule_is_previewed_before_it_is_saved(api: TestClient, ids: list[int]) -> None:
    found = api.post(f"{URL}/preview", json={"rule": CORK}).json()
    assert found["explanation"] == "Clients whose city is 'cork'"
    assert (found["members"], [item["id"] for item in found["sample"]]) == (4, ids[:4])
    assert found["seconds"] >= 0
    nobody = {"field": "tags", "operator": "has_any", "value": ["vip"]}
    found = api.post(f"{URL}/preview", json={"rule": nobody}).json()
    assert (found["members"], found["sample"]) == (0, [])
    assert walk(api, URL) == []


def test_a_preview_that_takes_too_long_says_so(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(lambda s: add_clients(s, 3000))
    monkeypatch.setenv("ICS_LIST_COUNT_SECONDS", "0.001")
    get_settings.cache_clear()
    conditions = [{"field": "first_name", "operator": "contains", "value": f"x{n}"} for n in range(100)]
    found = api.post(f"{URL}/preview", json={"rule": {"any": conditions}}).json()
    assert (found["members"], found["sample"]) == (None, None)
    made = created(api, URL, name="Slow", kind="dynamic", rule={"any": conditions})
    assert (
        "takes longer than 0.001 seconds" in problem_of(api.post(f"{URL}/{made['id']}/count"), 503)["detail"]
    )


def test_large_lists_show_when_they_were_counted(
    api: TestClient, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.routers.client_lists.LIVE_ROWS", 2)
    monkeypatch.setattr("api.routers.client_lists.LIVE_ROWS_ON_PAGE", 2)
    assert list_counts.LIVE_ROWS_ON_PAGE <= list_counts.LIVE_ROWS
    made = created(api, URL, name="In Cork", kind="dynamic", rule=CORK)
    assert (made["member_count"], made["count_kind"]) == (None, "unknown")
    # It was counted when the answer had left.
    found = api.get(f"{URL}/{made['id']}").json()
    assert (found["member_count"], found["count_kind"]) == (4, "stored")
    assert found["counted_at"] is not None
    assert found["count_seconds"] >= 0
    assert walk(api, URL)[0]["member_count"] == 4
    again = api.post(f"{URL}/{made['id']}/count").json()
    assert again["counted_at"] > found["counted_at"]
    assert again["updated_at"] == made["updated_at"]
    problem_of(api.post(f"{URL}/900/count"), 404)


def test_rules_are_explained_in_plain_english(api: TestClient, ids: list[int]) -> None:
    static = created(api, URL, name="Customers")
    rule: dict[str, Any] = {
        "all": [
            {"field": "custom.city", "operator": "in", "value": ["Cork", "Dublin"]},
            {"message": "opened", "channel": "email", "when": {"operator": "in_last_days", "value": 30}},
            {"field": "tags", "operator": "has_none", "value": ["vip"]},
            {"field": "lists", "operator": "has_any", "value": [static["id"]]},
        ]
    }
    expected = (
        "Clients whose city is 'Cork' or 'Dublin', and who opened an email in the last 30 days, "
        "and who are not tagged 'vip', and who are on the list 'Customers'"
    )
    assert api.post(f"{URL}/explain", json={"rule": rule}).json() == {"explanation": expected}
    made = created(api, URL, name="A", kind="dynamic", rule=rule)
    assert api.get(f"{URL}/{made['id']}/explain").json() == {"explanation": expected}
    assert "is static" in problem_of(api.get(f"{URL}/{static['id']}/explain"), 409)["detail"]


def test_the_published_schema_knows_the_custom_fields(api: TestClient, ids: list[int]) -> None:
    schema = api.get(f"{URL}/rule-schema").json()
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(CORK)
    assert not Draft202012Validator(schema).is_valid({"field": "custom.citi", "operator": "is_set"})
