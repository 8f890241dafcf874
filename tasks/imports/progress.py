"""What Prefect shows of an import: a progress artifact while it runs, a report at the end.

Artifacts hold counts and reasons only, and are a view: a Prefect server that is away must not stop an import,
so failing to show is only logged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from db.engine import get_database
from db.queries.imports import count_reasons
from tasks.imports.run import ImportReport
from tasks.orchestration.artifacts import try_to_show

INTERVAL_SECONDS = 1.0


@dataclass
class Shown:
    """The progress artifact of one run."""

    artifact_id: UUID | None
    _shown_at: float = 0.0

    def update(self, done_rows: int, total_rows: int | None) -> None:
        """Show how far the import is, at most once a second and at the end."""
        is_end = done_rows == total_rows
        if self.artifact_id is None or not (is_end or monotonic() - self._shown_at >= INTERVAL_SECONDS):
            return
        self._shown_at = monotonic()
        try_to_show(
            update_progress_artifact, artifact_id=self.artifact_id, progress=percent(done_rows, total_rows)
        )


@contextmanager
def shown(import_id: int) -> Iterator[Shown]:
    """Show the import's progress for as long as the block runs."""
    artifact_id = try_to_show(
        create_progress_artifact,
        progress=0.0,
        key=f"import-{import_id}-progress",
        description="Rows of the file that are done, in percent",
    )
    yield Shown(artifact_id)


def show_report(report: ImportReport) -> None:
    """Write the report artifact."""
    with get_database().reading() as session:
        reasons = count_reasons(session, report.import_id)
    try_to_show(
        create_markdown_artifact,
        markdown=markdown(report, reasons),
        key=f"import-{report.import_id}-report",
        description=f"Report of import {report.import_id}",
    )


def percent(done_rows: int, total_rows: int | None) -> float:
    """0 as long as the number of rows is not known; an empty file is done."""
    if total_rows is None:
        return 0.0
    return round(100 * done_rows / total_rows, 1) if total_rows else 100.0


def markdown(report: ImportReport, reasons: dict[tuple[str, str], int]) -> str:
    """The report as a table: the counts, and how often each reason left out a row or a cell."""
    rows = [("rows", name, count) for name, count in report.counts().items()]
    rows += [(severity, reason, count) for (severity, reason), count in sorted(reasons.items())]
    table = "\n".join(f"| {kind} | {name} | {count:,} |" for kind, name, count in rows)
    return f"# Import {report.import_id}: {report.state}\n\n| | | count |\n|---|---|---:|\n{table}\n"
