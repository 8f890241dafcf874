"""The sandbox as one application: both providers, their webhooks, and its own routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from sandbox.admin import admin_router
from sandbox.config import SandboxConfig
from sandbox.faults import Switches
from sandbox.journal import Journal
from sandbox.sendgrid_mail import MailEndpoint
from sandbox.sendmode_messages import SmsEndpoint
from sandbox.webhooks import Poster


def create_app(config: SandboxConfig) -> FastAPI:
    """The application; it opens the journal under `config.home` and posts webhooks while it runs."""
    journal = Journal(config.home / "journal.db")
    switches = Switches(config.seed)
    mail = MailEndpoint(config, journal, switches)

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
    app.include_router(mail.router)
    app.include_router(SmsEndpoint(config, journal, switches).router)
    app.include_router(admin_router(journal, mail, switches))
    return app
