"""The report that Prefect shows of an execution: counts and a picture of them, and nothing about anybody."""

import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from db.engine import get_database
from db.queries.stats import move_minutes
from tasks.sending import progress
from tests.builders import add_campaign, prepared

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MOST_BYTES = 100_000


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Prefect was given, instead of Prefect."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(progress, "create_markdown_artifact", lambda **artifact: given.append(artifact))
    return given


def an_execution(*, accepted: int) -> int:
    """Of three clients; `accepted` messages left at noon."""
    database = get_database()
    execution = database.run(lambda s: prepared(s, add_campaign(s, clients=3)))
    if accepted:
        database.run(lambda s: move_minutes(s, execution.id, {(NOON, "accepted"): accepted}))
    return execution.id


def test_the_report_has_counts_and_a_small_picture_of_them(
    engine: Engine, shown: list[dict[str, Any]]
) -> None:
    counts = progress.report(an_execution(accepted=3))
    assert counts == {"intended": 3, "pending": 3}
    markdown = shown[0]["markdown"]
    found = re.search(r"!\[over time\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", markdown)
    assert found is not None
    assert b64decode(found[1], validate=True).startswith(b"\x89PNG")
    assert len(markdown) < MOST_BYTES
    assert "example.com" not in markdown


def test_before_anything_was_sent_there_is_nothing_to_draw(
    engine: Engine, shown: list[dict[str, Any]]
) -> None:
    progress.report(an_execution(accepted=0))
    assert "data:image" not in shown[0]["markdown"]


def test_a_picture_that_cannot_be_drawn_leaves_the_counts(
    engine: Engine, shown: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> bytes:
        raise OSError("no font")

    monkeypatch.setattr(progress, "draw", fail)
    assert progress.report(an_execution(accepted=3)) == {"intended": 3, "pending": 3}
    assert "pending" in shown[0]["markdown"]
    assert "data:image" not in shown[0]["markdown"]
