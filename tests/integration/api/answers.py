"""Reading what the API answers."""

from typing import Any

from fastapi.testclient import TestClient
from httpx import Response


def created(api: TestClient, path: str, **values: Any) -> dict[str, Any]:
    """POST that has to succeed; returns what was created."""
    answer = api.post(path, json=values)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def problem_of(answer: Response, status: int) -> dict[str, Any]:
    """The problem document of an answer that has to have this status."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    return document


def fields_of(answer: Response, status: int = 422) -> dict[str, str]:
    """The fields that a problem names, with the reasons."""
    return {error["field"]: error["message"] for error in problem_of(answer, status)["errors"]}


def walk(api: TestClient, path: str, **params: Any) -> list[dict[str, Any]]:
    """All items of a list, by pages of two."""
    items: list[dict[str, Any]] = []
    cursor: int | None = None
    while True:
        place = {} if cursor is None else {"cursor": cursor}
        page = api.get(path, params={"limit": 2, **place, **params}).json()
        assert len(page["items"]) <= 2
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
