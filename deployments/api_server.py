"""The API as a process: uvicorn, told to end open streams before it waits for requests to end."""

import gc
import logging
import socket

import uvicorn

from settings import Settings
from tasks.live.hub import close_hubs
from tasks.logs import capture_library_logs, configure_logs

# Longer than any request but a stream should take; what is left is cut off then.
GRACE_SECONDS = 30


class Server(uvicorn.Server):
    """Streams have no end of their own: uvicorn would wait for them for ever."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is loaded by now stays: looked through again and again, it would hold up answers for a tenth of a second.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        close_hubs()
        await super().shutdown(sockets)


def without_sockets(record: logging.LogRecord) -> bool:
    """Filters out that a WebSocket was opened or closed: uvicorn writes its address, and with it the ticket in it, into the log."""
    message = str(record.msg)
    return '"WebSocket ' not in message and message not in ("connection open", "connection closed")


def serve_api(settings: Settings) -> None:
    """Serve until the process is told to stop."""
    config = uvicorn.Config(
        "api.app:create_app",
        factory=True,
        host=settings.api_host,
        port=settings.api_port,
        log_level=settings.log_level.lower(),
        access_log=False,
        log_config=None,
        # Whoever is not named here cannot say that he is somebody else.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    configure_logs(settings.log_level)
    capture_library_logs(settings.log_level)
    logging.getLogger("uvicorn.error").addFilter(without_sockets)
    server = Server(config)
    server.run()
    if not server.started:
        raise SystemExit(3)
