"""Plots of an execution over HTTP."""

from datetime import UTC, datetime
from threading import BoundedSemaphore

import pytest
from fastapi.testclient import TestClient

from api.routers import plots
from db.engine import Database
from db.queries.stats import move_minutes
from tests.builders import add_campaign, prepared

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_a_plot_is_drawn_once_for_the_same_counts(api: TestClient, database: Database) -> None:
    execution = database.run(lambda s: prepared(s, add_campaign(s, clients=2, name="Spring <sale>")))
    url = f"/api/flow-executions/{execution.id}/plot"
    empty = api.get(url)
    assert (empty.status_code, empty.headers["content-type"]) == (200, "image/svg+xml")
    database.run(lambda s: move_minutes(s, execution.id, {(NOON, "accepted"): 2, (NOON, "open"): 1}))
    svg, png = api.get(url), api.get(url, params={"format": "png"})
    assert svg.headers["etag"] != empty.headers["etag"]
    assert b"Spring &lt;sale&gt;" in svg.content
    assert "sandbox" in svg.headers["content-security-policy"]
    assert (png.headers["content-type"], png.content[:4]) == ("image/png", b"\x89PNG")
    again = api.get(url, headers={"If-None-Match": svg.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_many_plots_at_once_do_not_take_the_threads_of_all_others(
    api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    execution = database.run(lambda s: prepared(s, add_campaign(s, clients=2)))
    url = f"/api/flow-executions/{execution.id}/plot"
    known = api.get(url).headers["etag"]
    monkeypatch.setattr(plots, "_places", BoundedSemaphore(1))
    with plots._places:
        assert api.get(url).status_code == 429
        # What one has needs no drawing.
        assert api.get(url, headers={"If-None-Match": known}).status_code == 304
    for _ in range(2):
        assert api.get(url).status_code == 200


def test_other_formats_and_executions_are_refused(api: TestClient, anonymous: TestClient) -> None:
    assert api.get("/api/flow-executions/99/plot").status_code == 404
    assert api.get("/api/flow-executions/99/plot", params={"format": "gif"}).status_code == 422
    anonymous.headers.pop("Authorization")
    assert anonymous.get("/api/flow-executions/99/plot").status_code == 401
