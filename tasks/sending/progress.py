"""What Prefect shows of an execution: a progress artifact while it runs, a report at the end. Counts only.

Artifacts are a view. A Prefect server that is away must not stop the sending, so failing to show is only logged.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from uuid import UUID

import structlog
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)

from db.engine import get_database
from db.queries import executions
from db.queries.stats import Counts, get_counts, list_minutes
from db.states import MessageState
from tasks.orchestration.artifacts import try_to_show
from tasks.plots.curves import Curves, curves_of
from tasks.plots.drawing import Format, draw

log = structlog.get_logger()

INTERVAL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5.0
_PICTURE_SCALE = 0.8
_FINAL = (MessageState.ACCEPTED, MessageState.FAILED, MessageState.EXCLUDED, MessageState.CANCELLED)


@dataclass
class Shown:
    """The progress artifact of one run, and the heartbeat of its execution."""

    execution_id: int
    artifact_id: UUID | None
    interval_seconds: float = INTERVAL_SECONDS
    _beat_at: float = 0.0

    def update(self) -> None:
        """Renew the heartbeat and the artifact."""
        if monotonic() - self._beat_at >= _HEARTBEAT_SECONDS:
            get_database().run(lambda s: executions.heartbeat(s, self.execution_id))
            self._beat_at = monotonic()
        if self.artifact_id is not None:
            try_to_show(
                update_progress_artifact, artifact_id=self.artifact_id, progress=_percent(self.execution_id)
            )


def count_batches(execution_id: int) -> int:
    with get_database().reading() as session:
        return executions.count_batches(session, execution_id)


@contextmanager
def heartbeats(execution_id: int) -> Iterator[Shown]:
    """Renew the execution's heartbeat, and show nothing."""
    show = Shown(execution_id, None)
    show.update()
    yield show


@contextmanager
def shown(execution_id: int) -> Iterator[Shown]:
    """Show the execution's progress for as long as the block runs."""
    created = try_to_show(
        create_progress_artifact,
        progress=_percent(execution_id),
        key=f"execution-{execution_id}-progress",
        description="Messages in a final state, in percent",
    )
    show = Shown(execution_id, created)
    show.update()
    try:
        yield show
    finally:
        show.update()


def report(execution_id: int) -> dict[str, int]:
    """Write the report artifact; returns the counts per message state that are not 0."""
    with get_database().reading() as session:
        counts = get_counts(session, execution_id) if executions.has_snapshot(session, execution_id) else None
        minutes = list_minutes(session, execution_id)
    if counts is None:
        return {}
    try_to_show(
        create_markdown_artifact,
        markdown=_markdown(execution_id, counts) + _picture(execution_id, curves_of(minutes)),
        key=f"execution-{execution_id}-report",
        description=f"Report of execution {execution_id}",
    )
    names = ["intended", *(state.value for state in MessageState)]
    return {name: counts.messages[name] for name in names if counts.messages[name]}


def _picture(execution_id: int, curves: Curves) -> str:
    """In the document itself, some 50 KB: who looks at Prefect's UI has no token of ours. Empty when nothing was sent."""
    if curves.is_empty:
        return ""
    try:
        picture = draw(curves, f"execution {execution_id}", Format.PNG, scale=_PICTURE_SCALE)
    except Exception as error:
        log.warning("report without its plot", execution_id=execution_id, error=type(error).__name__)
        return ""
    return f"\n![over time](data:image/png;base64,{b64encode(picture).decode()})\n"


def _percent(execution_id: int) -> float:
    with get_database().reading() as session:
        counts = get_counts(session, execution_id).messages
    done = sum(counts[state.value] for state in _FINAL)
    return round(100 * done / counts["intended"], 1) if counts["intended"] else 100.0


def _markdown(execution_id: int, counts: Counts) -> str:
    rows = [("messages", name, value) for name, value in counts.messages.items() if value]
    rows += [
        (breakdown, reason, value)
        for breakdown, group in counts.reasons.items()
        for reason, value in group.items()
    ]
    rows += [("SMS", name, value) for name, value in counts.sms.items() if value]
    table = "\n".join(f"| {kind} | {name} | {value:,} |" for kind, name, value in rows)
    return f"# Execution {execution_id}\n\n| | | count |\n|---|---|---:|\n{table}\n"
