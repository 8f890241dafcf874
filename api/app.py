"""The HTTP API. Everything under `/api` needs a token; what is public stands in `_PUBLIC`, and `/health` and `/ready`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from api import errors
from api.auditing import Auditing
from api.dependencies import authenticate, refuse_unknown_parameters
from api.description import describe
from api.door import Door
from api.idempotency import Idempotency
from api.limits import BodyLimit
from api.measuring import Measured, Measurements
from api.readable_errors import ReadableErrors
from api.request_ids import RequestIds
from api.routers import (
    access,
    audit,
    bulk_operations,
    client_history,
    client_lists,
    clients,
    cms,
    custom_fields,
    exports,
    flow_executions,
    flow_sending,
    flows,
    health,
    import_mappings,
    live,
    member_imports,
    merges,
    monitoring,
    operations,
    plots,
    privacy,
    public_pages,
    rate_limits,
    relabelling,
    segments,
    statistics,
    templates,
    unknown,
    unsubscribe,
    unsubscribed,
    webhook_endpoints,
    webhook_events,
    webhooks,
)
from api.routers.public_pages import Maker
from api.security_headers import CORS_ANSWER_HEADERS, CORS_REQUEST_HEADERS, SecurityHeaders
from api.throttling import Limiter, Throttle
from db.engine import get_database
from settings import get_settings
from tasks.cms.serving import Pages
from tasks.cms.views import ViewCounter
from tasks.feedback.applier import Applier
from tasks.feedback.inbox import Inbox
from tasks.live.hub import hub_of
from tasks.logs import configure_logs

_WITH_TOKEN: tuple[APIRouter, ...] = (
    # Before the clients: export and duplicates are none of their ids.
    exports.router,
    merges.router,
    clients.router,
    client_history.router,
    privacy.router,
    bulk_operations.router,
    segments.router,
    client_lists.router,
    custom_fields.router,
    templates.router,
    flows.router,
    flow_sending.router,
    flow_executions.router,
    statistics.router,
    live.tickets,
    plots.router,
    unknown.router,
    member_imports.router,
    import_mappings.router,
    unsubscribed.router,
    access.account,
    access.people,
    audit.router,
    operations.router,
    webhook_events.router,
    webhook_endpoints.router,
    relabelling.router,
    rate_limits.router,
    cms.router,
)
_WITH_TOKEN_OR_TICKET: tuple[APIRouter, ...] = (live.streams,)
_PUBLIC: tuple[APIRouter, ...] = (
    public_pages.router,
    webhooks.router,
    unsubscribe.router,
    monitoring.router,
    access.door,
)

# What every route under /api may answer: a broken or slow body, no token, no database.
_ANYWHERE = errors.responses(400, 401, 403, 408, 413, 429, 503)

# What every public route may answer, but for those that watch over the process.
_ANYBODY = errors.responses(429, 503)

# SendGrid posts up to 768 KB; the form around an uploaded file has its own size.
WEBHOOK_BYTES = 2 * 1024 * 1024
FORM_OVERHEAD_BYTES = 64 * 1024
# 100,000 addresses with notes.
SUPPRESSIONS_BYTES = 20 * 1024 * 1024
# A page of ticks.
UNSUBSCRIBE_BYTES = 16 * 1024


@asynccontextmanager
async def _applying(app: FastAPI) -> AsyncIterator[None]:
    """Webhooks are stored and applied by threads of this process, for as long as it runs."""
    applier = Applier(get_database(), threads=get_settings().webhook_appliers)
    inbox = Inbox(get_database())
    hub = hub_of(get_database())
    app.state.applier, app.state.inbox, app.state.hub = applier, inbox, hub
    app.state.measurements, app.state.overview_reader = Measurements(), None
    app.state.pages = Pages(get_database(), get_settings().public_url, Maker(get_settings()))
    app.state.views = ViewCounter(get_database())
    inbox.start()
    app.state.views.start()
    applier.start()
    applier.notify()
    try:
        yield
    finally:
        hub.close()
        await run_in_threadpool(app.state.views.stop)
        await run_in_threadpool(inbox.stop)
        await run_in_threadpool(applier.stop)


def create_app() -> FastAPI:
    """The application; one per process."""
    settings = get_settings()
    configure_logs(settings.log_level)
    app = FastAPI(
        title="ICS Automation",
        # A redirect to the same path with a slash would repeat the Host header of the request.
        redirect_slashes=False,
        version="0.1.0",
        description="Client communication and marketing automation. Errors are problem documents (RFC 9457).",
        responses=errors.responses(422),
        lifespan=_applying,
    )
    app.state.measurements = Measurements()
    app.openapi = describe(app)  # type: ignore[method-assign]
    errors.install(app)
    # Routes are looked through one after the other: first what the whole internet asks for.
    for router in _PUBLIC:
        app.include_router(router, responses=_ANYBODY)
    app.include_router(health.router)
    for router in _WITH_TOKEN:
        app.include_router(
            router,
            dependencies=[Depends(authenticate), Depends(refuse_unknown_parameters)],
            responses=_ANYWHERE,
        )
    for router in _WITH_TOKEN_OR_TICKET:
        app.include_router(router, dependencies=[Depends(refuse_unknown_parameters)], responses=_ANYWHERE)
    upload = settings.max_import_bytes + FORM_OVERHEAD_BYTES
    limits = {
        "/webhooks": WEBHOOK_BYTES,
        "/api/member-imports": upload,
        "/unsubscribe": UNSUBSCRIBE_BYTES,
        "/p/": UNSUBSCRIBE_BYTES,
        "/api/cms/assets": settings.max_asset_bytes + FORM_OVERHEAD_BYTES,
        "/api/unsubscribed/import": SUPPRESSIONS_BYTES,
    }
    app.add_middleware(Idempotency)
    app.add_middleware(Auditing)
    app.add_middleware(Door)
    app.add_middleware(BodyLimit, limits=limits)
    app.add_middleware(Throttle, limiter=Limiter(settings))
    app.add_middleware(ReadableErrors)
    app.add_middleware(Measured)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["DELETE", "GET", "PATCH", "POST", "PUT"],
            allow_headers=CORS_REQUEST_HEADERS,
            expose_headers=CORS_ANSWER_HEADERS,
            # Tokens travel in a header: no cookie is ever needed.
            allow_credentials=False,
            max_age=3600,
        )
    app.add_middleware(SecurityHeaders, is_https=settings.public_url.startswith("https://"))
    app.add_middleware(RequestIds)
    return app
