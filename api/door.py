"""Who sends a body is asked for his token before it is read: a stranger fills neither memory nor disk."""

from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.dependencies import authenticate, bearer_of, database_of
from api.errors import Unauthenticated, problem
from db.engine import DatabaseOutage

_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})
WITHOUT_TOKEN: Final = ("/api/auth/login", "/api/auth/choose-password")


class Door:
    """ASGI middleware: 401 for each request with a body under `/api` whose token opens nothing.

    The route finds who it was, and does not look again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _is_guarded(scope):
            connection = HTTPConnection(scope)
            try:
                await authenticate(connection, database_of(scope), bearer_of(connection))
            except Unauthenticated as error:
                headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
                await problem(401, str(error), headers=headers)(scope, receive, send)
                return
            except DatabaseOutage:
                # Not left to the route: back a moment later, it would do the request without its Idempotency-Key.
                words = "the database does not answer; try again"
                await problem(503, words, headers={"Retry-After": "5"})(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_guarded(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] in _WITHOUT_BODY:
        return False
    path: str = scope["path"]
    return path.startswith("/api/") and path not in WITHOUT_TOKEN
