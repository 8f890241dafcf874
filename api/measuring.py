"""What this process counts about itself: requests, webhooks, memory. One registry a process, thrown away with it.

Labels have few values: a route is its template, and never the path that was asked for.
"""

from time import perf_counter
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Refusal
from tasks.feedback.sources import Source

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_REFUSED_UNREAD: Final = {408: Refusal.TOO_SLOW, 413: Refusal.TOO_LARGE}
NO_ROUTE: Final = "none"
_WEBHOOKS: Final = {
    "/webhooks/sendgrid": Source.SENDGRID,
    "/webhooks/sendmode/delivery": Source.SENDMODE_DELIVERY,
    "/webhooks/sendmode/reply": Source.SENDMODE_REPLY,
}


class Measurements:
    """The registry, and what is counted in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ics_http_requests",
            "Requests by the template of their route; none: no route fits.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ics_http_request_seconds",
            "Seconds until the answer began.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.webhook_bytes = Counter(
            "ics_webhook_bytes", "Bytes of webhooks that were stored.", ["source"], registry=self.registry
        )
        self.webhooks = Counter(
            "ics_webhooks", "Webhooks that were stored.", ["source"], registry=self.registry
        )
        self.refusals = Counter(
            "ics_webhook_refusals",
            "Webhooks that were not stored, by reason.",
            ["source", "reason"],
            registry=self.registry,
        )
        disable_created_metrics()  # type: ignore[no-untyped-call]  # A second series for each, which nobody asks for.
        ProcessCollector(registry=self.registry)
        # From the start on, so that the first one is an increase and no new series.
        for source in Source:
            self.webhooks.labels(source.value)
            for reason in Refusal:
                self.refusals.labels(source.value, reason.value)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        self.requests.labels(route, method, str(status)).inc()
        self.seconds.labels(route, method).observe(seconds)

    def count_webhook(self, source: Source, size: int) -> None:
        self.webhooks.labels(source.value).inc()
        self.webhook_bytes.labels(source.value).inc(size)

    def count_refusal(self, path: str, reason: Refusal) -> None:
        """A webhook that was sent to this path is not stored."""
        source = next((each for begin, each in _WEBHOOKS.items() if path.startswith(begin)), None)
        if source is not None:
            self.refusals.labels(source.value, reason.value).inc()


class Measured:
    """ASGI middleware, the outermost one: counts each request when its answer begins."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        is_counted = False

        async def watched(message: Message) -> None:
            nonlocal is_counted
            if message["type"] == "http.response.start":
                is_counted = True
                _count(scope, message["status"], perf_counter() - began)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # Starlette answers what nobody handled outside of all middleware.
            if not is_counted:
                _count(scope, 500, perf_counter() - began)
            raise


def _count(scope: Scope, status: int, seconds: float) -> None:
    measurements: Measurements = scope["app"].state.measurements
    route = getattr(scope.get("route"), "path_format", NO_ROUTE)
    method = scope["method"] if scope["method"] in _METHODS else "other"
    measurements.count_request(route, method, status, seconds)
    if status in _REFUSED_UNREAD:
        measurements.count_refusal(scope["path"], _REFUSED_UNREAD[status])
