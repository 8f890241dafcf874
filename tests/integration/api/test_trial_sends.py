"""Test sends over HTTP: one real request to the provider, or a clear reason why there was none."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from settings import get_settings
from tests.integration.api.answers import created, fields_of, problem_of
from tests.unit.tasks.wire import Fault, Request, Wire, closed_port, response, serving

EMAIL = {
    "name": "Spring",
    "channel": "email",
    "subject": "Hello {{ client.first_name }}",
    "html": "<p>Dear {{ client.first_name }}</p>",
}
Configure = Callable[..., None]


@pytest.fixture
def configure(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> Configure:
    def set_variables(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    return set_variables


def use_sendgrid(configure: Configure, url: str) -> None:
    configure(SENDGRID_API_KEY="SG.key", SENDGRID_BASE_URL=url, ICS_PUBLIC_URL="https://shop.example.com")


def substituted(wire: Wire) -> tuple[dict[str, Any], str]:
    """The one request's body, and its subject and contents as the recipient gets them."""
    (request,) = wire.requests
    body = json.loads(request.body)
    text = " | ".join([body["subject"], *(part["value"] for part in body["content"])])
    for tag, value in body["personalizations"][0].get("substitutions", {}).items():
        text = text.replace(tag, value)
    return body, text


def test_a_test_email_is_one_marked_message(api: TestClient, configure: Configure) -> None:
    template = created(api, "/api/templates", **EMAIL)
    client = created(api, "/api/clients", email="ann@example.com", first_name="Ann")
    with serving(response(202, X_Message_Id="m1")) as wire:
        use_sendgrid(configure, wire.url)
        answer = api.post(
            f"/api/templates/{template['id']}/test-send",
            json={"to": "Me@Example.com", "client_id": client["id"], "from_email": "news@shop.example.com"},
        )
        assert (answer.status_code, answer.json()["provider_message_id"]) == (200, "m1")
        body, text = substituted(wire)
    assert text.startswith("[Test] Hello Ann | Dear Ann")
    assert "https://shop.example.com/unsubscribe/test" in text
    (personalization,) = body["personalizations"]
    assert personalization["to"] == [{"email": "me@example.com"}]
    assert personalization["custom_args"] == {"ics_message": "test"}
    assert body["categories"] == ["test"]
    assert wire.requests[0].headers["authorization"] == "Bearer SG.key"


def test_the_sender_of_the_newest_flow_is_the_default(api: TestClient, configure: Configure) -> None:
    template = created(api, "/api/templates", **EMAIL)
    url = f"/api/templates/{template['id']}/test-send"
    with serving(response(202)) as wire:
        use_sendgrid(configure, wire.url)
        assert fields_of(api.post(url, json={"to": "me@example.com"})) == {
            "body.from_email": "a test email needs the address it comes from"
        }
        for number in (1, 2):
            created(
                api,
                "/api/flows",
                name=f"Flow {number}",
                steps=[{"template_id": template["id"]}],
                sender={"from_email": f"news{number}@shop.example.com", "from_name": "Shop"},
            )
        assert api.post(url, json={"to": "me@example.com"}).status_code == 200
        assert substituted(wire)[0]["from"] == {"email": "news2@shop.example.com", "name": "Shop"}


def test_a_test_sms_goes_to_a_phone(api: TestClient, configure: Configure) -> None:
    template = created(api, "/api/templates", name="SMS", channel="sms", text="Hi {{ client.first_name }}")
    with serving(response(200, b'{"id": "s1", "status": "queued"}', Content_Type="application/json")) as wire:
        configure(SENDMODE_API_KEY="key", SENDMODE_BASE_URL=wire.url)
        url = f"/api/templates/{template['id']}/test-send"
        answer = api.post(url, json={"to": "087 123 4567", "sender_id": "Shop"})
        assert (answer.status_code, answer.json()["provider_message_id"]) == (200, "s1")
        assert json.loads(wire.requests[0].body) == {
            "sender": "Shop",
            "to": "+353871234567",
            "text": "[Test] Hi Ada",
            "reference": "test",
        }
        assert fields_of(api.post(url, json={"to": "me@example.com", "sender_id": "Shop"})).keys() == {
            "body.to"
        }
        assert len(wire.requests) == 1


def test_a_suppressed_address_is_never_written_to(api: TestClient, configure: Configure) -> None:
    template = created(api, "/api/templates", **EMAIL)
    created(api, "/api/unsubscribed", channel="email", address="me@example.com")
    with serving(response(202)) as wire:
        use_sendgrid(configure, wire.url)
        answer = api.post(
            f"/api/templates/{template['id']}/test-send",
            json={"to": "ME@example.com", "from_email": "news@shop.example.com"},
        )
        assert "suppressed" in fields_of(answer, 409)["body.to"]
        assert wire.requests == []


def test_without_a_key_the_answer_names_the_variable(api: TestClient) -> None:
    for values, variable in (
        (EMAIL, "SENDGRID_API_KEY"),
        ({"name": "SMS", "channel": "sms", "text": "Hi"}, "SENDMODE_API_KEY"),
    ):
        template = created(api, "/api/templates", **values)
        answer = api.post(f"/api/templates/{template['id']}/test-send", json={"to": "me@example.com"})
        assert variable in problem_of(answer, 409)["detail"]


def _refusal(_: Request) -> bytes:
    return response(401, b'{"errors": [{"message": "The key is wrong", "field": null}]}')


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (_refusal, "The key is wrong"),
        (response(429), "rate limit"),
        (Fault.RESET, "no answer"),
        (response(500), "500"),
    ],
)
def test_what_the_provider_says_is_passed_on(
    api: TestClient, configure: Configure, said: Any, reason: str
) -> None:
    template = created(api, "/api/templates", **EMAIL)
    with serving(said) as wire:
        use_sendgrid(configure, wire.url)
        answer = api.post(
            f"/api/templates/{template['id']}/test-send",
            json={"to": "me@example.com", "from_email": "news@shop.example.com"},
        )
        assert reason in problem_of(answer, 502)["detail"]
        assert len(wire.requests) == 1


def test_a_provider_that_is_away_is_a_502(api: TestClient, configure: Configure) -> None:
    template = created(api, "/api/templates", **EMAIL)
    use_sendgrid(configure, closed_port())
    answer = api.post(
        f"/api/templates/{template['id']}/test-send",
        json={"to": "me@example.com", "from_email": "news@shop.example.com"},
    )
    assert "no connection" in problem_of(answer, 502)["detail"]


def test_a_template_that_cannot_be_rendered_is_not_sent(api: TestClient, configure: Configure) -> None:
    broken = "{{ client.custom.n | divided_by: client.custom.d }}"
    template = created(api, "/api/templates", **{**EMAIL, "subject": broken})
    for key in ("n", "d"):
        created(api, "/api/custom-fields", key=key, kind="number")
    client = created(api, "/api/clients", email="a@example.com", custom_fields={"n": 1, "d": 0})
    with serving(response(202)) as wire:
        use_sendgrid(configure, wire.url)
        answer = api.post(
            f"/api/templates/{template['id']}/test-send",
            json={"to": "me@example.com", "client_id": client["id"], "from_email": "n@shop.example.com"},
        )
        assert "cannot be rendered" in fields_of(answer)["body.client_id"]
        assert wire.requests == []
