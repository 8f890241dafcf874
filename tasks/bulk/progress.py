"""What Prefect shows of a bulk operation: how far it is, and its counts at the end. A Prefect that is away stops nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from tasks.bulk.run import BulkReport
from tasks.orchestration.artifacts import try_to_show

INTERVAL_SECONDS = 1.0


@dataclass
class Shown:
    """The progress artifact of one run."""

    artifact_id: UUID | None
    _shown_at: float = 0.0

    def update(self, walked: int, until: int) -> None:
        """Show how far it is, at most once a second and at the end. By ids, which may have gaps: nearly in percent."""
        is_end = walked >= until
        if self.artifact_id is None or not (is_end or monotonic() - self._shown_at >= INTERVAL_SECONDS):
            return
        self._shown_at = monotonic()
        percent = round(100 * walked / until, 1) if until else 100.0
        try_to_show(update_progress_artifact, artifact_id=self.artifact_id, progress=percent)


@contextmanager
def shown(operation_id: int) -> Iterator[Shown]:
    """Show the operation's progress for as long as the block runs."""
    artifact_id = try_to_show(
        create_progress_artifact,
        progress=0.0,
        key=f"bulk-operation-{operation_id}-progress",
        description="Clients that were looked at, in percent",
    )
    yield Shown(artifact_id)


def show_report(report: BulkReport) -> None:
    """Write the report artifact."""
    try_to_show(
        create_markdown_artifact,
        markdown=markdown(report),
        key=f"bulk-operation-{report.operation_id}-report",
        description=f"Report of bulk operation {report.operation_id}",
    )


def markdown(report: BulkReport) -> str:
    rows = "\n".join(f"| {name} | {count:,} |" for name, count in report.counts().items())
    return (
        f"# Bulk operation {report.operation_id}: {report.state}\n\n| clients | count |\n|---|---:|\n{rows}\n"
    )
