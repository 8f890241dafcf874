"""Templates over HTTP: versions, checks, previews. Test sends are in `test_trial_sends.py`."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from db.engine import Database
from tests.builders import add_campaign, prepared
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/templates"
EMAIL = {
    "name": "Spring",
    "channel": "email",
    "subject": "Hello {{ client.first_name }}",
    "html": "<p>Dear {{ client.first_name }} of {{ client.custom.city }}</p>",
}


def make(api: TestClient, **values: Any) -> dict[str, Any]:
    return created(api, URL, **{**EMAIL, **values})


def make_sms(api: TestClient, text: str) -> dict[str, Any]:
    return created(api, URL, name="Text", channel="sms", text=text)


def test_an_email_gets_its_text_from_its_html(api: TestClient) -> None:
    made = make(api)
    assert (made["version"], made["text"]) == (1, "Dear {{ client.first_name }} of {{ client.custom.city }}")
    assert made["variables"] == ["client.custom.city", "client.first_name"]
    assert api.get(f"{URL}/{made['id']}").json() == made
    assert make(api, name="Own", text="My own words")["text"] == "My own words"
    assert make(api, name="No HTML", html="", text="Only text")["html"] == ""


def test_new_content_is_a_new_version_and_old_ones_stay(api: TestClient) -> None:
    made = make(api)
    url = f"{URL}/{made['id']}"
    second = api.patch(url, json={"subject": "Good day"}).json()
    assert (second["version"], second["subject"], second["html"]) == (2, "Good day", made["html"])
    third = api.patch(url, json={"html": "<p>New</p>"}).json()
    assert (third["version"], third["text"]) == (3, "New")
    own = api.patch(url, json={"text": "Own words"}).json()
    assert api.patch(url, json={"html": "<p>Newer</p>"}).json()["text"] == own["text"] == "Own words"
    assert api.patch(url, json={"text": ""}).json()["text"] == "Newer"
    versions = walk(api, f"{url}/versions")
    assert [item["version"] for item in versions] == [6, 5, 4, 3, 2, 1]
    assert (versions[-1]["subject"], versions[-1]["html"]) == (made["subject"], made["html"])


def test_a_change_that_changes_nothing_makes_no_version(api: TestClient) -> None:
    made = make(api)
    url = f"{URL}/{made['id']}"
    for same in ({}, {"name": "Spring"}, {"subject": made["subject"], "html": made["html"]}):
        assert api.patch(url, json=same).json()["version"] == 1
    renamed = api.patch(url, json={"name": "Summer"}).json()
    assert (renamed["name"], renamed["version"]) == ("Summer", 1)


def test_an_execution_keeps_the_version_it_started_with(api: TestClient, database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=1))
    execution = database.run(lambda s: prepared(s, campaign))
    url = f"{URL}/{campaign.template.id}"
    assert api.patch(url, json={"subject": "Too late"}).json()["version"] == 2
    assert api.get(f"/api/flow-executions/{execution.id}").json()["counts"]["pending"] == 1
    assert [item["subject"] for item in walk(api, f"{url}/versions")][1] == campaign.version.subject


def test_a_list_has_subjects_but_no_sources(api: TestClient) -> None:
    ids = [make(api, name=f"T{number}")["id"] for number in range(3)]
    sms = make_sms(api, "Hi")
    assert [item["id"] for item in walk(api, URL)] == [*ids, sms["id"]]
    assert [item["id"] for item in walk(api, URL, channel="sms")] == [sms["id"]]
    item = api.get(URL).json()["items"][0]
    assert item["subject"] == EMAIL["subject"]
    assert "html" not in item


@pytest.mark.parametrize(
    ("values", "field", "message"),
    [
        ({"subject": "Hi {{ client.frist_name }}"}, "subject", "line 1: unknown field 'client.frist_name'"),
        ({"html": "<p>\n{% if client.email %}\n</p>"}, "html", "line 3:"),
        ({"text": "ok\n{{ secrets }}"}, "text", "line 2: unknown variable 'secrets'"),
        ({"html": "{% include 'x' %}"}, "html", "line 1:"),
        ({"subject": " "}, "subject", "line 1: an email needs a subject"),
        ({"html": " ", "text": ""}, "html", "line 1: an email needs html or text"),
        ({"subject": "two\nlines"}, "subject", "must be one line"),
        ({"subject": "x" * 999}, "subject", "String should have at most 998 characters"),
        ({"html": "nul \x00"}, "html", "text must not contain control characters"),
        ({"channel": "fax"}, "channel", "Input should be 'email' or 'sms'"),
    ],
)
def test_a_broken_template_is_refused_with_part_line_and_reason(
    api: TestClient, values: dict[str, str], field: str, message: str
) -> None:
    found = fields_of(api.post(URL, json={**EMAIL, **values}))
    assert found[f"body.{field}"].startswith(message)
    if "channel" not in values:
        made = make(api)
        again = fields_of(api.patch(f"{URL}/{made['id']}", json=values))
        assert again[f"body.{field}"] == found[f"body.{field}"]


def test_the_line_of_a_problem_is_a_number_too(api: TestClient) -> None:
    problem = problem_of(api.post(URL, json={**EMAIL, "html": "\n\n{{ x }}"}), 422)
    assert [error["line"] for error in problem["errors"]] == [3]


def test_an_sms_has_only_text(api: TestClient) -> None:
    sms = make_sms(api, "Hi {{ client.first_name }}")
    assert (sms["subject"], sms["html"], sms["variables"]) == ("", "", ["client.first_name"])
    for part in ("subject", "html"):
        found = fields_of(api.patch(f"{URL}/{sms['id']}", json={part: "x"}))
        assert found == {f"body.{part}": "line 1: an SMS has only text, no subject and no html"}
    assert list(fields_of(api.patch(f"{URL}/{sms['id']}", json={"text": ""}))) == ["body.text"]


def test_a_name_is_taken_once_and_is_free_after_archiving(api: TestClient) -> None:
    made, other = make(api), make(api, name="Other")
    taken = {"body.name": "a template named 'Spring' exists already"}
    assert fields_of(api.post(URL, json=EMAIL), 409) == taken
    assert fields_of(api.patch(f"{URL}/{other['id']}", json={"name": "Spring"}), 409) == taken
    url = f"{URL}/{made['id']}"
    assert api.delete(url).status_code == 204
    assert make(api)["id"] != made["id"]
    for gone in (
        api.get(url),
        api.patch(url, json={"name": "x"}),
        api.delete(url),
        api.get(f"{url}/versions"),
        api.post(f"{url}/preview", json={}),
    ):
        problem_of(gone, 404)
    assert made["id"] not in [item["id"] for item in walk(api, URL)]


def test_a_template_stays_while_a_flow_uses_it(api: TestClient, database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s))
    url = f"{URL}/{campaign.template.id}"
    problem = problem_of(api.delete(url), 409)
    assert problem["detail"].startswith(f"flow {campaign.flow.id} uses this template")
    assert api.post(f"/api/flows/{campaign.flow.id}/archive").status_code == 200
    assert api.delete(url).status_code == 204


def test_a_preview_shows_what_a_client_gets_and_what_it_lacks(api: TestClient) -> None:
    made = make(api)
    client = created(api, "/api/clients", email="ann@example.com", first_name="Ann & Co")
    preview = api.post(f"{URL}/{made['id']}/preview", json={"client_id": client["id"]}).json()
    assert preview["subject"] == "Hello Ann & Co"
    assert "<p>Dear Ann &amp; Co of </p>" in preview["html"]
    assert preview["missing"] == ["client.custom.city"]
    assert "/unsubscribe/preview" in preview["html"]
    assert "/unsubscribe/preview" in preview["text"]
    assert preview["sms"] is None


def test_a_preview_takes_made_up_values(api: TestClient) -> None:
    url = f"{URL}/{make(api)['id']}/preview"
    sample = {"first_name": "Eve", "custom_fields": {"city": "Cork"}}
    assert "<p>Dear Eve of Cork</p>" in api.post(url, json={"sample": sample}).json()["html"]
    assert "Dear Ada of" in api.post(url, json={}).json()["html"]
    both = fields_of(api.post(url, json={"sample": sample, "client_id": 1}))
    assert list(both.values()) == ["give client_id or sample, not both"]
    problem_of(api.post(url, json={"client_id": 1}), 404)


def test_a_preview_of_an_sms_measures_it(api: TestClient) -> None:
    sms = make_sms(api, "Fáilte {{ client.first_name }}")
    preview = api.post(f"{URL}/{sms['id']}/preview", json={"sample": {"first_name": "x" * 70}}).json()
    assert preview["sms"] == {"encoding": "ucs2", "characters": 77, "units": 77, "parts": 2}
    assert preview["text"].startswith("Fáilte xxx")


def test_a_preview_that_cannot_be_rendered_says_why(api: TestClient) -> None:
    sms = make_sms(api, "{{ client.custom.n | divided_by: client.custom.d }}")
    sample = {"custom_fields": {"n": 1, "d": 0}}
    answer = api.post(f"{URL}/{sms['id']}/preview", json={"sample": sample})
    assert list(fields_of(answer)) == ["body"]
