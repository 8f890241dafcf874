"""The body of a Mail Send request."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.providers.sendgrid_payload import (
    Envelope,
    PayloadInvalid,
    Personalization,
    build_mail,
    clean_name,
    measure_mail,
)
from tasks.templates.context import client_context
from tasks.templates.personalization import compile_email

ENVELOPE = Envelope("shop@example.com", "The Shop; Ltd, Cork", "reply@example.com", ("flow-7",))
EMAIL = compile_email(
    "Hi {{ client.first_name }}", "<p>{{ client.last_name }}</p>", "Dear {{ client.first_name }}"
)
DESCRIPTION = Path(__file__).parents[4] / "shared" / "specs" / "sendgrid_mail_v3.openapi.json"


def recipient(number: int = 1, **changes: Any) -> Personalization:
    values = EMAIL.render(client_context({"first_name": f"Ann {number}", "last_name": "O'Neill"}))
    assert isinstance(values, dict)
    fields: dict[str, Any] = {
        "email": f"ann{number}@example.com",
        "name": "Ann O'Neill",
        "reference": f"k3f9a0b1c2d4-{number}",
        "substitutions": values,
        "unsubscribe_url": f"https://example.com/unsubscribe/k3f9a0b1c2d4-{number}.abc",
    }
    return Personalization(**fields | changes)


def built(envelope: Envelope = ENVELOPE, *recipients: Personalization) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(build_mail(envelope, EMAIL, recipients or [recipient()]))
    return document


class TestBody:
    def test_has_the_constant_part_once(self) -> None:
        body = built(ENVELOPE, recipient(1), recipient(2))

        assert body["from"] == {"email": "shop@example.com", "name": "The Shop Ltd Cork"}
        assert body["reply_to"] == {"email": "reply@example.com"}
        assert body["subject"] == EMAIL.subject
        assert body["categories"] == ["flow-7"]
        assert len(body["personalizations"]) == 2

    def test_has_text_before_html(self) -> None:
        assert [content["type"] for content in built()["content"]] == ["text/plain", "text/html"]

    def test_has_each_recipients_values_reference_and_way_out(self) -> None:
        personalization = built(ENVELOPE, recipient(1), recipient(2))["personalizations"][1]

        assert personalization["to"] == [{"email": "ann2@example.com", "name": "Ann O'Neill"}]
        assert personalization["custom_args"] == {"ics_message": "k3f9a0b1c2d4-2"}
        assert sorted(personalization["substitutions"].values()) == ["Ann 2", "Ann 2", "O&#39;Neill"]
        assert personalization["headers"] == {
            "List-Unsubscribe": "<https://example.com/unsubscribe/k3f9a0b1c2d4-2.abc>",
            "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        }

    def test_may_offer_a_mail_address_to_unsubscribe_too(self) -> None:
        envelope = Envelope("shop@example.com", unsubscribe_mailto="out@example.com")
        header = built(envelope)["personalizations"][0]["headers"]["List-Unsubscribe"]

        assert header.endswith(".abc>, <mailto:out@example.com?subject=unsubscribe>")

    def test_leaves_out_what_is_not_given(self) -> None:
        bare = recipient(name="", unsubscribe_url="", substitutions={})
        body = built(Envelope("shop@example.com"), bare)

        assert body["personalizations"] == [
            {"to": [{"email": "ann1@example.com"}], "custom_args": {"ics_message": "k3f9a0b1c2d4-1"}}
        ]
        assert body["from"] == {"email": "shop@example.com"}
        assert set(body) == {"from", "subject", "content", "personalizations"}

    def test_carries_tracking_group_and_sandbox_mode_when_asked(self) -> None:
        body = built(
            Envelope("s@x.ie", open_tracking=False, click_tracking=True, asm_group_id=12, sandbox_mode=True)
        )

        assert body["tracking_settings"] == {
            "open_tracking": {"enable": False},
            "click_tracking": {"enable": True, "enable_text": True},
        }
        assert body["asm"] == {"group_id": 12}
        assert body["mail_settings"] == {"sandbox_mode": {"enable": True}}

    def test_is_within_what_the_official_description_allows(self) -> None:
        if not DESCRIPTION.exists():
            pytest.skip("the official description is not at hand")
        schemas = json.loads(DESCRIPTION.read_text())
        known = properties_of(schemas, "/v3/mail/send")
        body = built(Envelope("s@x.ie", "S", "r@x.ie", ("a",), "o@x.ie", True, True, 1, True))

        assert set(body) <= set(known)
        assert set(body["personalizations"][0]) <= set(known["personalizations"]["items"]["properties"])


def properties_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    """Properties of the request body of a POST, references followed."""

    def follow(schema: Any) -> Any:
        while isinstance(schema, dict) and "$ref" in schema:
            found: Any = document
            for name in schema["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            schema = found
        return schema

    content = follow(document["paths"][path]["post"]["requestBody"])["content"]["application/json"]
    properties: dict[str, Any] = {
        name: follow(each) for name, each in follow(content["schema"])["properties"].items()
    }
    items = properties["personalizations"].get("items")
    if items is not None:
        properties["personalizations"] = {"items": follow(items)}
    return properties


class TestLimits:
    @pytest.mark.parametrize("count", [0, 1001])
    def test_takes_1_to_1000_recipients(self, count: int) -> None:
        with pytest.raises(PayloadInvalid, match="1000 recipients"):
            build_mail(ENVELOPE, EMAIL, [recipient(number) for number in range(count)])

    def test_takes_less_than_30_megabytes(self) -> None:
        large = compile_email("Hi", "x" * (30 * 1024 * 1024), "")

        with pytest.raises(PayloadInvalid, match="30 MB"):
            build_mail(ENVELOPE, large, [recipient(substitutions={})])

    @pytest.mark.parametrize(
        "categories",
        [("é",), ("",), ("x" * 256,), tuple(f"c{n}" for n in range(11))],
        ids=["é", "", "long", "11"],
    )
    def test_takes_10_short_ascii_categories(self, categories: tuple[str, ...]) -> None:
        with pytest.raises(PayloadInvalid, match="categor"):
            built(Envelope("s@x.ie", categories=categories))

    @pytest.mark.parametrize(("subject", "html"), [("", "x"), (" ", "x"), ("Hi", "")])
    def test_needs_a_subject_and_content(self, subject: str, html: str) -> None:
        with pytest.raises(PayloadInvalid):
            build_mail(ENVELOPE, compile_email(subject, html, ""), [recipient(substitutions={})])


class TestCleanName:
    @given(st.text())
    def test_has_nothing_that_breaks_a_header_or_that_sendgrid_refuses(self, name: str) -> None:
        cleaned = clean_name(name)

        assert not set(cleaned) & set(';,<>"\r\n\x00')
        assert len(cleaned) <= 200

    def test_keeps_ordinary_names(self) -> None:
        assert clean_name("  Séamus O'Neill-Müller ") == "Séamus O'Neill-Müller"
        assert clean_name("O'Neill, Ann;\r\nBcc: x") == "O'Neill Ann Bcc: x"


class TestMeasuring:
    @given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
    def test_gives_the_bytes_of_the_request_and_of_each_recipient(self, names: list[str]) -> None:
        people = [recipient(number, name=name) for number, name in enumerate(names)]
        size = measure_mail(ENVELOPE, EMAIL, people)

        assert size.constant + sum(size.recipients) == len(build_mail(ENVELOPE, EMAIL, people))
        for number, person in enumerate(people):
            assert size.constant + size.recipients[number] == len(build_mail(ENVELOPE, EMAIL, [person]))

    def test_refuses_what_no_request_can_have(self) -> None:
        with pytest.raises(PayloadInvalid, match="neither HTML nor text"):
            measure_mail(ENVELOPE, compile_email("Hi", "", ""), [])
