"""Serves the sandbox on a socket."""

import socket

import uvicorn

from sandbox.app import create_app
from sandbox.config import SandboxConfig
from sandbox.connections import BreakableProtocol


class PortTaken(Exception):
    """Somebody else listens there."""


def run(config: SandboxConfig, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        PortTaken: names the port and the variable to change.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} is taken on {host}: stop what uses it, or set ICS_SANDBOX_PORT"
            ) from error
    uvicorn.run(
        create_app(config),
        host=host,
        port=port,
        http=BreakableProtocol,
        log_level="warning",
        access_log=False,
    )
