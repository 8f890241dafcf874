"""Every limit of Mail Send, by the field that SendGrid names."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sandbox.refusals import Refusal
from sandbox.sendgrid_recipients import is_email
from sandbox.sendgrid_validation import is_sandboxed, refusals_of

DESCRIPTION = Path(__file__).parents[4] / "shared" / "specs" / "sendgrid_mail_v3.openapi.json"
LATER = int(time.time()) + 73 * 3600


def mail(**changes: Any) -> dict[str, Any]:
    """A request with one recipient that SendGrid takes; a change to `...` removes the property."""
    made: dict[str, Any] = {
        "from": {"email": "shop@example.com", "name": "The Shop"},
        "subject": "Hello",
        "content": [{"type": "text/plain", "value": "Hi"}, {"type": "text/html", "value": "<p>Hi</p>"}],
        "personalizations": [{"to": [{"email": "ann@example.com"}]}],
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def person(**changes: Any) -> dict[str, Any]:
    """A request whose only personalization has these changes."""
    return mail(personalizations=[{"to": [{"email": "ann@example.com"}]} | changes])


def people(count: int) -> list[dict[str, Any]]:
    return [{"to": [{"email": f"c{number}@example.com"}]} for number in range(count)]


def fields(request: Any) -> list[str | None]:
    return [refusal.field for refusal in refusals_of(request)]


FULL = mail(
    personalizations=[
        {
            "to": [{"email": "ann@example.com", "name": "Ann"}],
            "cc": [{"email": "bob@example.com"}],
            "bcc": [{"email": "carl@example.com"}],
            "from": {"email": "other@example.com"},
            "subject": "For Ann",
            "headers": {"List-Unsubscribe": "<https://shop.example.com/u>"},
            "substitutions": {"[a]": "1"},
            "custom_args": {"ics_message": "k3f9a0b1c2d4-1"},
            "send_at": int(time.time()),
        }
    ],
    reply_to={"email": "help@example.com"},
    attachments=[{"content": "aGk=", "filename": "a.txt", "type": "text/plain", "disposition": "inline"}],
    headers={"X-Shop": "1"},
    categories=["a", "b"],
    send_at=int(time.time()),
    batch_id="b",
    asm={"group_id": 1, "groups_to_display": [1, 2]},
    ip_pool_name="pool",
    mail_settings={"sandbox_mode": {"enable": False}, "footer": {"enable": True, "text": "t", "html": "h"}},
    tracking_settings={
        "click_tracking": {"enable": True, "enable_text": False},
        "ganalytics": {"utm_term": "x"},
    },
)

REFUSED = [
    ("no personalizations", mail(personalizations=...), "personalizations"),
    ("empty personalizations", mail(personalizations=[]), "personalizations"),
    ("personalizations of another type", mail(personalizations="x"), "personalizations"),
    ("1,001 personalizations", mail(personalizations=people(1001)), "personalizations"),
    (
        "1,001 recipients in 1,000 personalizations",
        mail(personalizations=[*people(999), {"to": [{"email": "a@x.ie"}], "cc": [{"email": "b@x.ie"}]}]),
        "personalizations",
    ),
    ("a personalization that is none", mail(personalizations=[1]), "personalizations.0"),
    ("nobody in to", mail(personalizations=[{"to": []}]), "personalizations.0.to"),
    ("a name for an address", person(to=[{"name": "Ann"}]), "personalizations.0.to.0.email"),
    ("an address without a dot", person(to=[{"email": "ann@localhost"}]), "personalizations.0.to.0.email"),
    ("a comma in a name", person(to=[{"email": "a@x.ie", "name": "A, B"}]), "personalizations.0.to.0.name"),
    ("a semicolon in a name", person(to=[{"email": "a@x.ie", "name": "A; B"}]), "personalizations.0.to.0.name"),
    ("an address twice", person(cc=[{"email": "ANN@example.com"}]), "personalizations.0.cc.0.email"),
    ("cc of another type", person(cc=5), "personalizations.0.cc"),
    ("an unknown property", person(tags=["x"]), "personalizations.0.tags"),
    ("a null", person(subject=None), "personalizations.0.subject"),
    ("an empty subject", person(subject=""), "personalizations.0.subject"),
    ("a broken sender", person(**{"from": {"email": "x"}}), "personalizations.0.from.email"),
    ("a reserved header", person(headers={"Reply-To": "x"}), "personalizations.0.headers.Reply-To"),
    ("a line break in a header", person(headers={"X-A": "1\r\nBcc: x"}), "personalizations.0.headers.X-A"),
    ("a header that is no string", person(headers={"X-A": 1}), "personalizations.0.headers.X-A"),
    ("an empty custom arg", person(custom_args={"a": ""}), "personalizations.0.custom_args.a"),
    ("a custom arg that is no string", person(custom_args={"a": 1}), "personalizations.0.custom_args.a"),
    ("too many custom args", person(custom_args={"a": "é" * 5000}), "personalizations.0.custom_args"),
    ("substitutions that are no object", person(substitutions=["a"]), "personalizations.0.substitutions"),
    ("a substitution that is no string", person(substitutions={"a": 1}), "personalizations.0.substitutions.a"),
    ("too much to substitute", person(substitutions={"a": "é" * 5000}), "personalizations.0.substitutions"),
    ("a time too far ahead", person(send_at=LATER), "personalizations.0.send_at"),
    ("a time that is no number", person(send_at=True), "personalizations.0.send_at"),
    ("no sender", mail(**{"from": ...}), "from.email"),
    ("a sender without an address", mail(**{"from": {"name": "Shop"}}), "from.email"),
    ("no subject", mail(subject=...), "subject"),
    ("a subject of two lines", mail(subject="a\nBcc: b@x.ie"), "subject"),
    ("no content", mail(content=...), "content"),
    ("HTML before text", mail(content=FULL["content"][::-1]), "content"),
    ("a type before text", mail(content=[{"type": "text/calendar", "value": "x"}, *FULL["content"]]), "content"),
    ("empty content", mail(content=[{"type": "text/plain", "value": ""}]), "content.0.value"),
    ("content without a type", mail(content=[{"value": "x"}]), "content.0.type"),
    ("a type with parameters", mail(content=[{"type": "text/html; a=b", "value": "x"}]), "content.0.type"),
    ("a broken reply_to", mail(reply_to={"email": "x"}), "reply_to.email"),
    ("both ways to reply", mail(reply_to={"email": "a@x.ie"}, reply_to_list=[{"email": "b@x.ie"}]), "reply_to_list"),
    ("eleven categories", mail(categories=[str(number) for number in range(11)]), "categories"),
    ("a category beyond ASCII", mail(categories=["café"]), "categories.0"),
    ("a long category", mail(categories=["x" * 256]), "categories.0"),
    ("a category twice", mail(categories=["a", "a"]), "categories.1"),
    ("custom_args as the description has them", mail(custom_args="x"), "custom_args"),
    ("an attachment that is not base64", mail(attachments=[{"content": "?", "filename": "a"}]), "attachments.0.content"),
    ("an attachment without a name", mail(attachments=[{"content": "aGk="}]), "attachments.0.filename"),
    ("a group that is no number", mail(asm={"group_id": "1"}), "asm.group_id"),
    ("26 groups", mail(asm={"group_id": 1, "groups_to_display": list(range(26))}), "asm.groups_to_display"),
    ("a short pool name", mail(ip_pool_name="x"), "ip_pool_name"),
    ("an unknown setting", mail(mail_settings={"spam_check": {"enable": True}}), "mail_settings.spam_check"),
    (
        "a setting of another type",
        mail(tracking_settings={"open_tracking": {"enable": "yes"}}),
        "tracking_settings.open_tracking.enable",
    ),
    ("an unknown property of the request", mail(to="x"), "to"),
]  # fmt: skip


class TestAccepted:
    def test_the_least_and_the_most_that_a_request_may_say(self) -> None:
        assert refusals_of(mail()) == []
        assert refusals_of(FULL) == []

    def test_the_limits_themselves_are_within_them(self) -> None:
        assert refusals_of(mail(personalizations=people(1000))) == []
        assert refusals_of(person(substitutions={"[a]": "x" * 9997})) == []
        assert refusals_of(person(custom_args={"a": "x" * 9999})) == []
        assert refusals_of(person(send_at=LATER - 3600 - 60)) == []

    def test_a_subject_in_every_personalization_is_enough(self) -> None:
        request = person(subject="For Ann")
        del request["subject"]
        assert refusals_of(request) == []

    def test_a_template_needs_neither_subject_nor_content(self) -> None:
        assert refusals_of(mail(subject=..., content=..., template_id="d-1")) == []


class TestRefused:
    @pytest.mark.parametrize(
        ("request_", "field"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
    )
    def test_with_the_field_and_nothing_else(self, request_: dict[str, Any], field: str) -> None:
        assert set(fields(request_)) == {field}

    def test_errors_of_all_personalizations_are_reported(self) -> None:
        crowd = people(5)
        crowd[1]["to"][0]["email"] = "nobody"
        crowd[3] = {"to": [{"email": "a@x.ie"}, {"email": "two@@x.ie"}], "custom_args": {"a": 1}}
        assert fields(mail(personalizations=crowd)) == [
            "personalizations.1.to.0.email",
            "personalizations.3.to.1.email",
            "personalizations.3.custom_args.a",
        ]

    def test_custom_args_of_request_and_personalization_count_together(self) -> None:
        request = person(custom_args={"b": "x" * 5000}) | {"custom_args": {"a": "x" * 5000}}
        assert fields(request) == ["personalizations.0.custom_args"]

    def test_substitutions_do_not_go_with_a_dynamic_template(self) -> None:
        request = person(substitutions={"a": "b"}) | {"template_id": "d-1"}
        assert fields(request) == ["personalizations.0.substitutions"]

    @pytest.mark.parametrize("request_", [None, [], "x", 1])
    def test_what_is_no_object_is_a_bad_request(self, request_: Any) -> None:
        assert refusals_of(request_) == [Refusal("Bad Request")]

    def test_an_error_says_what_where_and_where_to_read(self) -> None:
        [refusal] = refusals_of(person(to=[{"email": "x"}]))
        assert refusal.as_json() == {
            "message": "Does not contain a valid address.",
            "field": "personalizations.0.to.0.email",
            "help": "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#message.personalizations.to",
        }


class TestAddresses:
    @pytest.mark.parametrize(
        "email",
        [
            "a@x.ie",
            "A.B+tag@Mail.Example.co.uk",
            "o'neill_1@x-y.ie",
            "x@xn--bcher-kva.example",
            "ü@bücher.de",
        ],
    )
    def test_what_is_one(self, email: str) -> None:
        assert is_email(email)

    @pytest.mark.parametrize(
        "email",
        ["", "a", "a@", "@x.ie", "a@x", "a..b@x.ie", ".a@x.ie", "a.@x.ie", "a b@x.ie", "a@x..ie", "a@-x.ie", "a@x.12",
         "a@x.ie\n", "x" * 65 + "@x.ie", "a@" + "x." * 130 + "ie", None, 7],
    )  # fmt: skip
    def test_what_is_none(self, email: Any) -> None:
        assert not is_email(email)


class TestSandboxMode:
    @pytest.mark.parametrize(
        ("settings_", "is_on"),
        [({}, False), ({"sandbox_mode": {}}, False), ({"sandbox_mode": {"enable": False}}, False),
         ({"sandbox_mode": {"enable": True}}, True)],
    )  # fmt: skip
    def test_is_what_the_request_says(self, settings_: dict[str, Any], is_on: bool) -> None:
        assert is_sandboxed(mail(mail_settings=settings_)) is is_on
        assert not is_sandboxed(mail())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**12) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def nearly_valid(draw: st.DrawFn) -> dict[str, Any]:
    """The full request with a few values anywhere in it replaced by some JSON."""
    request = copy.deepcopy(FULL)
    for _ in range(draw(st.integers(0, 3))):
        place: Any = request
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or draw(st.booleans()):
                place[key] = draw(JSON)
                break
            place = place[key]
    return request


def without_formats(schema: Any, root: dict[str, Any]) -> Any:
    """The description's schema with references resolved, and the root `custom_args` as the service takes it."""
    if isinstance(schema, list):
        return [without_formats(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        target: Any = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return without_formats(target, root)
    return {name: without_formats(value, root) for name, value in schema.items() if name != "example"}


@pytest.fixture(scope="module")
def description() -> Draft202012Validator:
    if not DESCRIPTION.exists():
        pytest.skip("SendGrid's description is not at hand")
    root = json.loads(DESCRIPTION.read_text())
    body = root["components"]["requestBodies"]["PostMailSend"]["content"]["application/json"]["schema"]
    schema = without_formats(body, root)
    schema["properties"]["custom_args"] = {"type": "object"}
    return Draft202012Validator(schema)


class TestAnyJson:
    @given(JSON)
    def test_gets_an_answer(self, request_: Any) -> None:
        assert refusals_of(request_)

    @settings(max_examples=300, deadline=None)
    @given(request_=nearly_valid())
    def test_what_is_accepted_is_valid_by_the_description(
        self, description: Draft202012Validator, request_: dict[str, Any]
    ) -> None:
        if not refusals_of(request_):
            assert [error.message for error in description.iter_errors(request_)] == []

    def test_the_description_takes_the_full_request(self, description: Draft202012Validator) -> None:
        assert description.is_valid(FULL)
        assert not description.is_valid(mail(personalizations=...))
