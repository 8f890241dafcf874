"""What request bodies accept, without a server."""

from typing import Any

import pytest
from pydantic import ValidationError

from api.schemas.clients import ClientIn
from api.schemas.flows import FlowIn, SenderIn
from api.schemas.templates import TemplateIn


def problems(schema: type[Any], values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Where the values are refused; empty when they are taken."""
    try:
        schema.model_validate(values)
    except ValidationError as error:
        return [found["loc"] for found in error.errors()]
    return []


@pytest.mark.parametrize(
    "sender", ["A", "TheShop", "The Shop", "3FE", "Eleven char", "+353871234567", "50015", "1" * 15]
)
def test_a_sender_id_is_a_short_word_or_a_number(sender: str) -> None:
    assert problems(SenderIn, {"sender_id": sender}) == []


@pytest.mark.parametrize(
    "sender", ["", " ", "Twelve chars", "Zoë", "a-b", "+", "1" * 16, "+" + "1" * 16, "a\tb"]
)
def test_anything_else_is_no_sender_id(sender: str) -> None:
    assert problems(SenderIn, {"sender_id": sender}) == [("sender_id",)]


@pytest.mark.parametrize("value", ["", "x" * 1000, 0, -(2**63) + 1, 2**63 - 1, 1.5, True, None, "a\nb"])
def test_a_custom_field_is_a_plain_value(value: Any) -> None:
    assert problems(ClientIn, {"custom_fields": {"a": value}}) == []


@pytest.mark.parametrize(
    "value", ["x" * 1001, 2**63, -(2**63), float("nan"), float("inf"), [], {}, "\ud800", "\x00"]
)
def test_anything_else_is_no_custom_field(value: Any) -> None:
    assert problems(ClientIn, {"custom_fields": {"a": value}}) == [("custom_fields",)]


def test_text_of_a_template_is_kept_as_it_is() -> None:
    template = TemplateIn(name=" A ", channel="email", html="  <p>\n\tx</p> \n")
    assert (template.name, template.html) == ("A", "  <p>\n\tx</p> \n")


@pytest.mark.parametrize("value", [True, "1", 0, -1, 2**63, 1.5])
def test_an_id_is_a_positive_number_of_63_bits(value: Any) -> None:
    taken = problems(FlowIn, {"name": "A", "client_list_id": value})
    assert taken == ([] if value == "1" else [("client_list_id",)])
