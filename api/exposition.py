"""The overview of the database, and the threads of this process, in Prometheus' words.

Read at most once a second, whoever asks: `/metrics` may be open to everybody.
"""

import asyncio
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from time import monotonic
from typing import Any, Final

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool

from db.engine import Database
from db.queries.overview import Overview, Waiting, read_overview
from db.states import MessageState
from tasks.feedback.applier import Applier
from tasks.feedback.inbox import Inbox

log = structlog.get_logger()
FRESH_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 5.0
_EVENTS: Final = ("opens", "machine_opens", "clicks", "machine_clicks")
_STATES: Final = tuple(state.value for state in MessageState)


class OverviewReader:
    """Reads the overview for whoever scrapes: one reading at a time, and its answer serves a second."""

    def __init__(self, database: Database, unclaimed_seconds: int) -> None:
        self._database = database
        self._unclaimed_seconds = unclaimed_seconds
        self._reading: asyncio.Task[Overview | None] | None = None
        self._began = 0.0

    async def read(self) -> Overview | None:
        """None when the database is away, or does not answer within `PATIENCE_SECONDS`."""
        task = self._reading
        if task is None or (task.done() and monotonic() - self._began > FRESH_SECONDS) or _is_foreign(task):
            self._began = monotonic()
            task = self._reading = asyncio.create_task(run_in_threadpool(self._read))
        done, _ = await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
        return task.result() if done else None

    def _read(self) -> Overview | None:
        try:
            with self._database.reading() as session:
                return read_overview(session, unclaimed_seconds=self._unclaimed_seconds)
        except Exception as error:  # Whatever it is, the rest is worth seeing.
            log.error("metrics without the database", error=type(error).__name__)
            return None


def _is_foreign(task: asyncio.Task[Overview | None]) -> bool:
    """It belongs to an event loop that has ended."""
    return task.get_loop() is not asyncio.get_running_loop()


class OverviewCollector(Collector):
    """Metric families of one overview."""

    def __init__(self, overview: Overview | None, threads: Mapping[str, bool], inbox: Inbox | None) -> None:
        self._overview = overview
        self._threads = threads
        self._inbox = inbox

    def collect(self) -> Iterable[GaugeMetricFamily]:
        yield _labelled(
            "ics_build_info",
            "What runs here.",
            ("version", "python"),
            {(app_version(), python_version()): 1},
        )
        yield _one("ics_database_up", "1: the database has answered.", self._overview is not None)
        yield _labelled(
            "ics_thread_up", "1: the thread of this process lives.", ("thread",), _by_name(self._threads)
        )
        if self._inbox is not None:
            yield _one(
                "ics_inbox_uncommitted_bytes",
                "Bytes of webhooks that this process holds and has not acknowledged.",
                self._inbox.waiting_bytes,
            )
        if self._overview is not None:
            yield from _of_executions(self._overview)
            yield from _of_messages(self._overview)
            yield from _of_webhooks(self._overview)
            yield from _of_work(self._overview)


def app_version() -> str:
    try:
        return version("ics-automation")
    except PackageNotFoundError:  # Run from a folder that was never installed.
        return "unknown"


def threads_of(inbox: Inbox | None, applier: Applier | None) -> dict[str, bool]:
    """The threads that this process cannot do without, and whether each of them lives."""
    found = {} if inbox is None else {"inbox": inbox.is_alive}
    return found | ({} if applier is None else applier.threads)


def registry_of(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return registry


def _of_executions(overview: Overview) -> Iterable[GaugeMetricFamily]:
    yield _labelled("ics_executions", "Flow executions.", ("state",), _by_name(overview.executions))
    yield _one(
        "ics_execution_queue_age_seconds",
        "How long the longest queued execution waits; 0: none is queued.",
        overview.queued.oldest_seconds or 0,
    )
    yield _one(
        "ics_executions_unclaimed",
        "Executions that are due and that no worker has claimed within ICS_UNCLAIMED_SECONDS, up to 100.",
        len(overview.unclaimed),
    )
    yield _one(
        "ics_execution_unclaimed_age_seconds",
        "How long the worst of them has shown no sign of life.",
        max((each.seconds for each in overview.unclaimed), default=0),
    )
    yield _one(
        "ics_batches_expired",
        "Batches in sending whose lease ran out: their worker died, their messages become unknown.",
        overview.expired_batches,
    )


def _of_messages(overview: Overview) -> Iterable[GaugeMetricFamily]:
    counts = {
        (channel, name): number
        for channel, named in overview.messages.items()
        for name, number in named.items()
    }
    yield _labelled(
        "ics_messages",
        "Messages of all executions by their present state.",
        ("channel", "state"),
        {key: number for key, number in counts.items() if key[1] in _STATES},
    )
    yield _labelled(
        "ics_messages_intended",
        "Messages of all snapshots.",
        ("channel",),
        {(channel,): named["intended"] for channel, named in overview.messages.items()},
    )
    yield _labelled(
        "ics_feedback_messages",
        "Messages about which this was reported.",
        ("channel", "feedback"),
        _feedback(overview),
    )
    yield _labelled(
        "ics_events",
        "Opens and clicks, each one counted.",
        ("kind",),
        {(kind,): overview.messages["email"][kind] for kind in _EVENTS},
    )
    yield _one("ics_sms_parts", "Parts of all SMS that were accepted.", overview.sms["parts"])
    yield _one(
        "ics_unknown_age_seconds",
        "How long the oldest message of unknown outcome waits for evidence; 0: there is none.",
        overview.unknown.oldest_seconds or 0,
    )


def _feedback(overview: Overview) -> dict[tuple[str, str], int]:
    """By channel: what SMS may report is in `sendmode_stats`, but for the links to unsubscribe."""
    others = {*_STATES, *_EVENTS, "intended"}
    email = {name: number for name, number in overview.messages["email"].items() if name not in others}
    sms = {name: number for name, number in overview.sms.items() if name not in ("sent", "parts")}
    sms["unsubscribed"] = overview.messages["sms"]["unsubscribed"]
    return {
        (channel, name): number
        for channel, named in (("email", email), ("sms", sms))
        for name, number in named.items()
    }


def _of_webhooks(overview: Overview) -> Iterable[GaugeMetricFamily]:
    yield from _waiting(
        "ics_inbox_webhooks", "Webhooks stored and not applied, up to 100,000.", overview.inbox
    )
    lately = overview.applied_lately
    yield _one(
        "ics_webhooks_applied_lately", "Webhooks applied in the last minute, up to 10,000.", lately.count
    )
    yield _labelled(
        "ics_webhook_lag_seconds",
        "Seconds from received to applied, of those.",
        ("of",),
        {("mean",): lately.mean_seconds, ("max",): lately.max_seconds},
    )
    yield _labelled(
        "ics_webhook_events_open",
        "Events of webhooks that are not applied, up to 100,000.",
        ("problem",),
        _by_name(overview.webhook_events),
    )


def _of_work(overview: Overview) -> Iterable[GaugeMetricFamily]:
    yield _labelled("ics_failed_jobs_open", "Work that gave up.", ("kind",), _by_name(overview.failed_jobs))
    yield from _waiting("ics_imports", "Member imports that wait or run.", overview.imports)
    yield from _waiting("ics_bulk_operations", "Bulk operations that wait or run.", overview.bulk_operations)


def _waiting(name: str, text: str, found: Mapping[str, Waiting]) -> Iterable[GaugeMetricFamily]:
    yield _labelled(name, text, ("state",), {(state,): each.count for state, each in found.items()})
    yield _labelled(
        f"{name}_age_seconds",
        "The age of the oldest of them; 0: there is none.",
        ("state",),
        {(state,): each.oldest_seconds or 0 for state, each in found.items()},
    )


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


def _by_name(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}


def _labelled(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
