"""A small client of our own HTTP API, for the command line and the demo. Errors are shown as the API says them."""

from types import TracebackType
from typing import Any, Self

import httpx

from db.errors import IcsError
from settings import Settings


class ApiError(IcsError):
    """The API refused: its problem document in one line."""


class ApiClient:
    """JSON in, JSON out; an answer of 4xx or 5xx is an ApiError."""

    def __init__(self, base_url: str, token: str) -> None:
        self.base_url = base_url
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=base_url, headers=headers, timeout=60.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        return self._call("GET", path, params=params)

    def post(self, path: str, json: Any = None, **options: Any) -> Any:
        return self._call("POST", path, json=json, **options)

    def put(self, path: str, json: Any) -> Any:
        return self._call("PUT", path, json=json)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ApiError(
                f"the API does not answer at {self.base_url} ({type(error).__name__}): is `ics up` running?"
            ) from error
        if response.is_error:
            raise ApiError(_problem(response))
        return response.json() if response.content else None


def api_client(settings: Settings, *, url: str | None, token: str | None) -> ApiClient:
    """A client for the API at `url`, or for this installation's."""
    if not token:
        raise ApiError(
            "a token is needed: set ICS_TOKEN or give --token (make one with `ics token create NAME`)"
        )
    return ApiClient(url or f"http://{settings.api_host}:{settings.api_port}", token)


def _problem(response: httpx.Response) -> str:
    try:
        document = response.json()
    except ValueError:
        return f"{response.status_code} {response.reason_phrase}"
    lines = [f"{document.get('title')}: {document.get('detail') or ''}".rstrip(": ")]
    lines += [f"  {error.get('field')}: {error.get('message')}" for error in document.get("errors") or []]
    return "\n".join(lines)
