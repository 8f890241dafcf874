"""What Prefect shows of an import."""

from uuid import UUID

import pytest

from db.states import ImportState
from tasks.imports import progress
from tasks.imports.progress import Shown, markdown, percent
from tasks.imports.run import ImportReport


@pytest.mark.parametrize(
    ("done", "total", "shown"), [(0, None, 0.0), (0, 3, 0.0), (1, 3, 33.3), (3, 3, 100.0), (0, 0, 100.0)]
)
def test_progress_is_in_percent_of_the_rows(done: int, total: int | None, shown: float) -> None:
    assert percent(done, total) == shown


def test_the_report_has_counts_and_reasons_only() -> None:
    report = ImportReport(7, ImportState.FAILED, "ann@x.ie", 1200, 1100, 50, 0, 0, 20, 30, 4, 0)
    text = markdown(report, {("reject", "invalid_email"): 30, ("warning", "too_long"): 4})
    assert "# Import 7: failed" in text
    assert "| rows | total | 1,200 |" in text
    assert "| reject | invalid_email | 30 |" in text
    assert "@" not in text


def test_a_prefect_that_is_away_stops_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(**arguments: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(progress, "create_progress_artifact", away)
    monkeypatch.setattr(progress, "update_progress_artifact", away)
    with progress.shown(7) as show:
        show.update(1, 2)
    assert show.artifact_id is None


def test_progress_is_shown_at_most_once_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[float] = []
    now = 100.0
    monkeypatch.setattr(progress, "update_progress_artifact", lambda **given: sent.append(given["progress"]))
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    show = Shown(artifact_id=None)
    show.update(1, 10)
    assert sent == []
    show = Shown(artifact_id=UUID(int=1))
    for done in (1, 2, 10):
        show.update(done, 10)
    now += 1.0
    show.update(5, 10)
    assert sent == [10.0, 100.0, 50.0]
