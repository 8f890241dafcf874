"""`python -m deployments.api_reference`: writes docs/reference/api.md from the OpenAPI description."""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from api.description import abilities_of, operations_of

REFERENCE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference" / "api.md"
_LONGEST: Final = 3_000
_HEAD: Final = """# Reference of the HTTP API

Made from the API's own description by `make reference`; what holds for all operations stands in [the guide](../api.md). The same description
as OpenAPI 3.1 is at `/openapi.json`, and to be tried out at `/docs`.
"""


def reference_of(document: Mapping[str, Any]) -> str:
    """The whole document, grouped by tag."""
    operations = sorted(operations_of(document), key=lambda each: (_tag(each[2]), each[0], each[1]))
    parts = [_HEAD]
    for tag, group in groupby(operations, key=lambda each: _tag(each[2])):
        parts.append(f"\n## {tag.capitalize()}\n")
        for path, method, operation in group:
            parts.extend(_lines(path, method, operation))
    return "\n".join(parts) + "\n"


def _lines(path: str, method: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n### {method.upper()} {path}\n"
    yield str(operation.get("description") or operation["summary"])
    abilities = abilities_of(operation)
    if not abilities:
        yield "\nPublic."
    parameters = operation.get("parameters", [])
    if parameters:
        yield "\n| parameter | in | type | |\n|---|---|---|---|"
        for each in parameters:
            needed = "required. " if each.get("required") else ""
            words = " ".join(str(each.get("description", "")).split())
            yield f"| `{each['name']}` | {each['in']} | {_type(each.get('schema', {}))} | {needed}{words} |"
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"\nBody (`{media_type}`):\n"
        yield _code(content.get("example"))
    for status, answer in sorted(operation["responses"].items()):
        if status.startswith(("2", "3")):
            yield f"\nAnswers {status}: {answer['description']}"
            for media_type, content in answer.get("content", {}).items():
                if media_type == "application/json" and "example" in content:
                    yield "\n" + _code(content["example"])
    problems = [status for status in sorted(operation["responses"]) if status.startswith(("4", "5"))]
    yield f"\nProblems: {', '.join(problems)}."


def _code(example: Any) -> str:
    text = json.dumps(example, indent=2, ensure_ascii=False)
    shortened = text if len(text) <= _LONGEST else text[:_LONGEST].rpartition("\n")[0] + "\n  …"
    return f"```json\n{shortened}\n```"


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"] if each.get("type") != "null")
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    return str(schema.get("format") or schema.get("type", ""))


def _tag(operation: Mapping[str, Any]) -> str:
    return str(next(iter(operation.get("tags", [])), "other"))


def main() -> None:
    from api.app import create_app

    REFERENCE.parent.mkdir(parents=True, exist_ok=True)
    REFERENCE.write_text(reference_of(create_app().openapi()))


if __name__ == "__main__":
    main()
