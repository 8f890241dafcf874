"""`ics health`: what waits and what is stuck, with what to do about it, through the HTTP API."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from deployments.client import ApiClient

_URL: Final = "/api/operations/overview"
_MOST_LAG_SECONDS: Final = 60
_MOST_QUEUED_SECONDS: Final = 300
_LISTED: Final = 10


@dataclass(frozen=True)
class Finding:
    """One line: what it is, how it stands, and what to do when it is not as it should be."""

    what: str
    stands: str
    hint: str | None = None


def show_health(client: ApiClient, *, console: Console | None = None) -> int:
    """Print the overview; the exit code is 1 when there is something to do."""
    console = console or Console(highlight=False)
    found = findings(client.get(_URL))
    table = Table("", "now", "to do")
    for each in found:
        table.add_row(each.what, each.stands, each.hint or "", style="yellow" if each.hint else None)
    console.print(table)
    return 1 if any(each.hint for each in found) else 0


def findings(overview: dict[str, Any]) -> list[Finding]:
    """The overview in words, worst hints included."""
    return [*_executions(overview), *_webhooks(overview["webhooks"]), *_work(overview)]


def _executions(overview: dict[str, Any]) -> Iterator[Finding]:
    states = ", ".join(f"{count} {state}" for state, count in overview["executions"].items() if count)
    yield Finding("executions", states or "none")
    queued = overview["queued"]
    is_old = (queued["oldest_seconds"] or 0) > _MOST_QUEUED_SECONDS
    yield Finding(
        "queued", _stands(queued), "do workers run? (ics worker, Prefect's work pool)" if is_old else None
    )
    unclaimed = overview["unclaimed"]
    listed = ", ".join(str(each["execution_id"]) for each in unclaimed[:_LISTED])
    yield Finding(
        f"unclaimed for {overview['unclaimed_seconds']} s",
        f"{len(unclaimed)}: {listed}" if unclaimed else "0",
        "nobody works on these: is Prefect up, and a worker?" if unclaimed else None,
    )
    expired = overview["expired_batches"]
    yield Finding(
        "batches of dead workers",
        str(expired),
        "does the Prefect flow close-unknown run every minute?" if expired else None,
    )
    unknown = overview["unknown_messages"]
    yield Finding(
        "unknown messages",
        _stands(unknown),
        "do webhooks arrive? Without evidence a person decides: docs/sending.md"
        if unknown["count"]
        else None,
    )


def _webhooks(webhooks: dict[str, Any]) -> Iterator[Finding]:
    received, failed = webhooks["inbox"]["received"], webhooks["inbox"]["failed"]
    is_old = (received["oldest_seconds"] or 0) > _MOST_LAG_SECONDS
    yield Finding(
        "webhooks to apply",
        _stands(received),
        "does the API run, and the database keep up?" if is_old else None,
    )
    yield Finding(
        "webhooks that failed",
        _stands(failed),
        "the reasons are in the log of the API (webhook not applied)" if failed["count"] else None,
    )
    yield Finding(
        "webhooks in the last minute",
        f"{webhooks['applied_lately']}, {webhooks['mean_lag_seconds']:.1f} s from received to applied, "
        f"{webhooks['max_lag_seconds']:.1f} s at most",
    )
    problems = webhooks["open_events"]
    yield Finding(
        "events not applied",
        _counted(problems),
        "GET /api/webhook-events names them; replay them when the reason is gone" if problems else None,
    )


def _work(overview: dict[str, Any]) -> Iterator[Finding]:
    jobs = overview["failed_jobs"]
    yield Finding("failed jobs", _counted(jobs), "ics failed-jobs list" if jobs else None)
    for what in ("imports", "bulk_operations"):
        for state, waiting in overview[what].items():
            is_old = state == "queued" and (waiting["oldest_seconds"] or 0) > _MOST_QUEUED_SECONDS
            yield Finding(
                f"{what.replace('_', ' ')} {state}", _stands(waiting), "do workers run?" if is_old else None
            )


def _stands(waiting: dict[str, Any]) -> str:
    if not waiting["count"]:
        return "0"
    return f"{waiting['count']}, the oldest for {_duration(waiting['oldest_seconds'] or 0)}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "0"
