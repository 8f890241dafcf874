"""A small client of our own HTTP API, for the command line and the demo. Errors are shown as the API says them."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from db.errors import IcsError
from settings import Settings

# Streams give a sign of life every 15 seconds; less of it means that something on the way holds them back.
SILENCE_SECONDS = 20.0


class ApiError(IcsError):
    """The API refused: its problem document in one line.

    `status` is None where there was no answer; `fields` are (field, message) of what did not fit.
    """

    def __init__(
        self, message: str, *, status: int | None = None, fields: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.fields = fields


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

    def download(self, path: str, target: Path, **params: Any) -> None:
        """Write an answer that is a file to `target`, piece by piece.

        Raises:
            ApiError: as for every call.
            OSError: the file cannot be written.
        """
        try:
            with self._http.stream("GET", path, params=params) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                with target.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
        except httpx.HTTPError as error:
            raise self._silence(error) from error

    def get_if_changed(self, path: str, etag: str | None) -> tuple[str | None, Any]:
        """(ETag, answer); the answer is None when it is still the one that `etag` names."""
        headers = {"If-None-Match": etag} if etag else {}
        response = self._send("GET", path, headers=headers)
        if response.status_code == httpx.codes.NOT_MODIFIED:
            return etag, None
        return response.headers.get("ETag"), response.json()

    def events(self, path: str, *, seen: str | None = None) -> Iterator[tuple[str, Any]]:
        """Server-sent events as (id, data), until the server ends the stream. `seen` is the id of the last one that is known.

        Raises:
            ApiError: as for every call, and when nothing came for `SILENCE_SECONDS`, not even a sign of life.
        """
        headers = {"Last-Event-ID": seen} if seen else {}
        try:
            with self._http.stream("GET", path, headers=headers, timeout=SILENCE_SECONDS) as response:
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                yield from _read_events(response.iter_lines())
        except httpx.HTTPError as error:
            raise self._silence(error) from error

    def _silence(self, error: httpx.HTTPError) -> ApiError:
        return ApiError(
            f"the API does not answer at {self.base_url} ({type(error).__name__}): is `ics up` running?"
        )

    def _call(self, method: str, path: str, **options: Any) -> Any:
        response = self._send(method, path, **options)
        return response.json() if response.content else None

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._silence(error) from error
        if response.is_error:
            raise _refusal(response)
        return response


def api_client(settings: Settings, *, url: str | None, token: str | None) -> ApiClient:
    """A client for the API at `url`, or for this installation's."""
    if not token:
        raise ApiError(
            "a token is needed: set ICS_TOKEN or give --token (make one with `ics token create NAME`)"
        )
    return ApiClient(url or f"http://{settings.api_host}:{settings.api_port}", token)


def _read_events(lines: Iterable[str]) -> Iterator[tuple[str, Any]]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            yield fields.get("id", ""), orjson.loads(fields["data"])
            fields = {}


def _refusal(response: httpx.Response) -> ApiError:
    status = response.status_code
    try:
        document = response.json()
    except ValueError:
        return ApiError(f"{status} {response.reason_phrase}", status=status)
    fields = [(str(error.get("field")), str(error.get("message"))) for error in document.get("errors") or []]
    lines = [f"{document.get('title')}: {document.get('detail') or ''}".rstrip(": ")]
    lines += [f"  {field}: {message}" for field, message in fields]
    return ApiError("\n".join(lines), status=status, fields=fields)
