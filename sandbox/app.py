"""The sandbox as one application: both providers, their webhooks, and its own routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from starlette.exceptions import HTTPException
from starlette.responses import Response

from sandbox.admin import admin_router
from sandbox.config import SandboxConfig
from sandbox.faults import Switches
from sandbox.journal import Journal
from sandbox.recent import RecentMessages
from sandbox.refusals import Refusal
from sandbox.sendgrid_mail import MailEndpoint, sendgrid_errors
from sandbox.sendmode_messages import SmsEndpoint
from sandbox.webhooks import Poster


def create_app(config: SandboxConfig) -> FastAPI:
    """The application; it opens the journal under `config.home` and posts webhooks while it runs.

    Serve it with `connections.BreakableProtocol`, as `server.run` does, or the faults that break sockets answer 500.
    """
    journal = Journal(config.home / "journal.db")
    switches = Switches(config.seed)
    recent = RecentMessages()

    @asynccontextmanager
    async def posting(_: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(Poster(config, journal).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            journal.close()

    app = FastAPI(title="Sandbox of SendGrid and Sendmode", lifespan=posting)
    app.add_exception_handler(HTTPException, _refuse)
    app.include_router(MailEndpoint(config, journal, switches, recent).router)
    app.include_router(SmsEndpoint(config, journal, switches, recent).router)
    app.include_router(admin_router(journal, recent, switches))
    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """404 and 405 under SendGrid's paths come in SendGrid's words."""
    assert isinstance(error, HTTPException)
    if request.url.path.startswith("/v3/"):
        headers = dict(error.headers) if error.headers else None
        return sendgrid_errors(error.status_code, [Refusal(str(error.detail).lower())], headers)
    return await http_exception_handler(request, error)
