"""What has to be there before a process starts; each missing thing is an error that says what to do."""

import socket

import httpx

from db.errors import IcsError
from db.health import check_connection
from db.migrate import pending
from settings import Settings


class NotReady(IcsError):
    """Something that this command needs is not there."""


def check_database(settings: Settings) -> None:
    """The database answers and has all migrations."""
    check_connection(settings.database_url)
    waiting = pending(settings.database_url)
    if waiting:
        raise NotReady(f"the database lacks {len(waiting)} migrations: run `ics migrate`")


def check_prefect(settings: Settings) -> None:
    """Prefect's server answers."""
    try:
        httpx.get(f"{settings.prefect_api_url}/health", timeout=5.0, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        raise NotReady(
            f"Prefect does not answer at {settings.prefect_api_url} ({type(error).__name__}): start it "
            "(`ics up` starts everything), or set PREFECT_API_URL"
        ) from error


def check_port(host: str, port: int, variable: str) -> None:
    """The port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise NotReady(f"port {port} is taken on {host}: stop what uses it, or set {variable}") from error
