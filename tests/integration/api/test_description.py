"""The description of the API: every operation has examples, each fits its own schema, and the reference in docs/ is made from it."""

from typing import Any

import jsonschema
import pytest
from fastapi import FastAPI

from api.description import abilities_of, operations_of
from deployments.api_reference import REFERENCE, reference_of


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def contents(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What an operation takes and answers, with a name for each."""
    parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
    return [
        (f"{name} {media_type}", content)
        for name, part in parts.items()
        for media_type, content in part.get("content", {}).items()
        if content.get("schema")
    ]


def test_every_operation_has_examples_that_fit(document: dict[str, Any]) -> None:
    checked, wrong = 0, []
    for path, method, operation in operations_of(document):
        for name, content in contents(operation):
            where = f"{method.upper()} {path} {name}"
            if "example" not in content and "examples" not in content:
                wrong.append(f"{where}: no example")
                continue
            schema = {**content["schema"], "components": document["components"]}
            validator = jsonschema.Draft202012Validator(schema)
            wrong += [
                f"{where}: {error.json_path} {error.message[:200]}"
                for error in validator.iter_errors(content["example"])
            ]
            checked += 1
    assert wrong == []
    assert checked > 500


def test_every_guarded_post_takes_an_idempotency_key_and_every_guarded_operation_says_what_it_takes(
    document: dict[str, Any],
) -> None:
    for path, method, operation in operations_of(document):
        names = {item["name"] for item in operation.get("parameters", [])}
        abilities = abilities_of(operation)
        if abilities and method == "post":
            assert "Idempotency-Key" in names, path
        for ability in abilities:
            assert ability in operation["description"], path
        if "If-Match" in names:
            assert "412" in operation["responses"], path


def test_the_reference_is_made_from_the_description(document: dict[str, Any]) -> None:
    assert REFERENCE.read_text() == reference_of(document), "run `make reference`"
