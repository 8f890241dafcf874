"""The OpenAPI description: what FastAPI tells of the routes, and what holds for all of them: headers, limits, examples.

Examples are made from the schemas, one place for each: the example of a field where there is one, else what fields of that name and
type look like. A test holds each of them to its own schema.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.errors import MEDIA_TYPE, problem_content

Schema = Mapping[str, Any]
_DEEPEST: Final = 6
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})
_MOMENT: Final = "2026-05-04T09:30:00Z"
_BY_NAME: Final[Mapping[str, Any]] = {
    "address": "ada@example.com",
    "created_by": "user Ada Byron",
    "custom_fields": {"city": "Cork"},
    "default_region": "IE",
    "description": "Everybody who asked for offers",
    "detail": "client 7 does not exist",
    "email": "ada@example.com",
    "event_id": "msg_3f1c2d7e",
    "expression": "0 9 * * 1",
    "field": "body.email",
    "filename": "clients.csv",
    "first_name": "Ada",
    "from_email": "shop@example.com",
    "hint": "ics_3fK9aZ",
    "html": "<p>Hello {{ client.first_name }}</p>",
    "last_name": "Byron",
    "link": "7-1790000000.0123456789abcdef0123456789abcdef",
    "locale": "en-IE",
    "name": "Spring sale",
    "phone": "+353871234567",
    "prefect_url": "http://127.0.0.1:4200/runs/flow-run/5f0c1f6e",
    "reference": "k3v9x0q2m4ab-7",
    "slug": "spring-sale",
    "source": "# {{ page.title }}",
    "subject": "Spring sale",
    "text": "Hello {{ client.first_name }}",
    "time_zone": "Europe/Dublin",
    "title": "Not Found",
    "token": "ics_…",
    "uid": "k3v9x0q2m4ab",
    "url": "https://crm.example.com/hooks",
    "who": "user Ada Byron",
}
_IDEMPOTENCY_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again with the same key, the request is not done again, and gets the first answer. Kept for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "3f1c2d7e-9a40-4e0e-8f5e-0c9f7c1d2b3a",
}
_LIMIT_HEADERS: Final[Schema] = {
    "RateLimit-Limit": {"description": "Requests in the window.", "schema": {"type": "integer"}},
    "RateLimit-Remaining": {"description": "How many of them are left.", "schema": {"type": "integer"}},
    "RateLimit-Reset": {"description": "Seconds until all are back.", "schema": {"type": "integer"}},
}


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What `app.openapi` is to be: made once, when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            for path, method, operation in operations_of(document):
                _complete(path, method, operation, document)
            app.openapi_schema = document
        return app.openapi_schema

    return openapi


def operations_of(document: Schema) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if method in _METHODS:
                yield path, method, operation


def abilities_of(operation: Schema) -> list[str]:
    """The abilities an operation takes; none where it is public."""
    return [name for each in operation.get("security", []) for names in each.values() for name in names]


def example_of(schema: Schema, document: Schema, *, name: str = "", depth: int = 0) -> Any:
    """Something that fits the schema."""
    if "$ref" in schema:
        return example_of(_resolved(schema, document), document, name=name, depth=depth)
    if "examples" in schema:
        return schema["examples"][0]
    for given in ("example", "const"):
        if given in schema:
            return schema[given]
    if "enum" in schema:
        return schema["enum"][0]
    if "allOf" in schema:
        return example_of(schema["allOf"][0], document, name=name, depth=depth)
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        wanted = [each for each in choices if each.get("type") != "null"] or choices
        return example_of(wanted[0], document, name=name, depth=depth)
    return _by_type(schema, document, name, depth)


def _by_type(schema: Schema, document: Schema, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return _object(schema, document, name, depth)
    if kind == "array":
        few = schema.get("minItems", 0)
        if depth >= _DEEPEST and not few:
            return []
        item = example_of(schema.get("items", {}), document, name=name.removesuffix("s"), depth=depth + 1)
        return [item] * max(1, few)
    if kind in ("integer", "number"):
        return _number(schema, name)
    if kind == "boolean":
        return schema.get("default", True)
    if kind == "null":
        return None
    return _text(schema, name) if kind == "string" else _BY_NAME.get(name, {})


def _object(schema: Schema, document: Schema, name: str, depth: int) -> Any:
    known = _BY_NAME.get(name)
    properties = schema.get("properties")
    if not properties:
        if isinstance(known, dict):
            return known
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and depth < _DEEPEST:
            key = str(example_of(schema.get("propertyNames", {"const": "example"}), document))
            return {key: example_of(extra, document, depth=depth + 1)}
        return {}
    required = schema.get("required", [])
    return {
        key: example_of(value, document, name=key, depth=depth + 1)
        for key, value in properties.items()
        if depth < _DEEPEST or key in required
    }


def _number(schema: Schema, name: str) -> Any:
    if isinstance(schema.get("default"), int | float):
        return schema["default"]
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    value = 7 if name == "id" or name.endswith("_id") else 1
    value = max(value, int(least) + (1 if "exclusiveMinimum" in schema else 0))
    return min(value, schema.get("maximum", value))


def _text(schema: Schema, name: str) -> str:
    known = {"date-time": _MOMENT, "date": _MOMENT[:10], "uri": "https://example.com/", "binary": "…"}
    if schema.get("format") in known:
        return known[schema["format"]]
    found = _BY_NAME.get(name)
    text = found if isinstance(found, str) else str(schema.get("default") or "text")
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
    return text.ljust(least, ".")[: max(least, most)]


def _complete(path: str, method: str, operation: dict[str, Any], document: Schema) -> None:
    is_guarded = bool(operation.get("security"))
    answers = operation["responses"]
    names = {item["name"] for item in operation.get("parameters", [])}
    if "If-Match" in names:
        answers.setdefault("412", _problem("Precondition Failed"))
    if is_guarded and method == "post":
        operation.setdefault("parameters", []).append(dict(_IDEMPOTENCY_KEY))
        answers.setdefault("409", _problem("Conflict"))
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", {}):
            answers.setdefault("411", _problem("Length Required"))
    if is_guarded:
        needed = ", ".join(f"`{name}`" for name in abilities_of(operation))
        text = operation.get("description", "")
        operation["description"] = f"{text}\n\nTakes the ability {needed}.".strip()
    for part in (operation.get("requestBody", {}), *answers.values()):
        for media_type, content in part.get("content", {}).items():
            schema = content.get("schema")
            if schema and "example" not in content and "examples" not in content:
                content["example"] = _example(schema, document, media_type, part)
    for status, answer in answers.items():
        if status.startswith("2") or status == "429":
            answer.setdefault("headers", {}).update(_LIMIT_HEADERS)


def _example(schema: Schema, document: Schema, media_type: str, part: Schema) -> Any:
    if media_type == MEDIA_TYPE:
        return {
            "type": "about:blank",
            "title": part.get("description", "Problem"),
            "status": 400,
            "detail": "what is wrong, and the way out",
        }
    return example_of(schema, document)


def _problem(title: str) -> dict[str, Any]:
    return {"description": title, "content": problem_content()}


def _resolved(schema: Schema, document: Schema) -> Schema:
    found: Schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
