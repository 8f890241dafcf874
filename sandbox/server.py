"""Serves the sandbox on a socket."""

import socket

import uvicorn

from sandbox.app import create_app
from sandbox.config import SandboxConfig
from sandbox.connections import BreakableProtocol

_STOP_SECONDS = 3


class PortTaken(Exception):
    """Somebody else listens there."""


def run(config: SandboxConfig, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        PortTaken: names the port and the variable to change.
    """
    with _listen(host, port) as listener:
        make_server(config).run(sockets=[listener])


def make_server(config: SandboxConfig) -> uvicorn.Server:
    """A server that can break its sockets; give it a listening one to run."""
    return uvicorn.Server(
        uvicorn.Config(
            create_app(config),
            http=BreakableProtocol,
            ws="none",
            # The addresses have to be those of the sockets, whatever headers say.
            proxy_headers=False,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise PortTaken(
            f"port {port} cannot be used on {host} ({error.strerror}): stop what uses it, or set ICS_SANDBOX_PORT"
        ) from error
