"""Segment rules: what is asked about one that nobody has saved yet."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from api.schemas.base import Input, Output
from api.schemas.clients import ClientOut

RuleDocument = Annotated[
    dict[str, Any],
    Field(max_length=20),
    WithJsonSchema(
        {
            "type": "object",
            "description": "A segment rule; its JSON schema is at GET /api/client-lists/rule-schema.",
            "examples": [{"all": [{"field": "tags", "operator": "has_any", "value": ["vip"]}]}],
        }
    ),
]


class RuleIn(Input):
    """A rule, saved or not."""

    rule: RuleDocument


class ExplanationOut(Output):
    """The rule in plain English."""

    explanation: str


class PreviewOut(Output):
    """Whom the rule chooses now: how many, and the first 25 by id. Null is what took too long."""

    explanation: str
    members: int | None
    sample: list[ClientOut] | None
    seconds: float
