"""The API against its own OpenAPI description: requests drawn from it, good ones and bad ones, and every answer held to it.

Schemathesis draws and judges. Requests go to the application in this process, over a small installation with something of everything
in it, made new for each operation: what one deletes the next one finds again.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import hypothesis
import requests
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from api.app import create_app
from api.throttling import Budget
from db.engine import Database, get_database, make_engine
from db.migrate import upgrade
from db.queries.tokens import create_token
from settings import get_settings
from tests.fuzz.installation import fill

_CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
# A body that is too large is not read, whoever sends it.
_SHUT: Final = frozenset({401, 413})
_STREAM: Final = "text/event-stream"
# Ids up to here are likely to exist.
_FIRST_IDS: Final = 4


@dataclass(frozen=True)
class Finding:
    """An answer that does not fit: what was asked, and what is wrong with it."""

    operation: str
    request: str
    problem: str

    def __str__(self) -> str:
        return f"{self.operation}: {self.problem}\n    {self.request}"


def environment(home: Path) -> dict[str, str]:
    """What has to be in the environment of the process, before `Fuzzer` is made."""
    return {
        "ICS_HOME": str(home),
        "ICS_DATABASE_URL": f"sqlite:///{home / 'fuzz.db'}",
        "ICS_LOG_LEVEL": "ERROR",
        "SENDMODE_WEBHOOK_SECRET": "secret",
        # More is asked here than anybody should ask.
        **{f"ICS_LIMIT_{budget.name}": "100000000/minute" for budget in Budget},
        # Nothing listens there: whatever is asked of Prefect waits for the dispatcher.
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
    }


class Fuzzer:
    """The application over a database of its own, the one of the settings."""

    def __init__(self, home: Path, *, anonymous: bool = False) -> None:
        """`anonymous`: without a token, when only what is meant to be public may answer anything but 401."""
        self._is_anonymous = anonymous
        get_settings.cache_clear()
        get_database.cache_clear()
        self._origin, self._file = home / "origin.db", home / "fuzz.db"
        upgrade(self._url(self._origin))
        database = Database(make_engine(self._url(self._origin)))
        fill(database)
        self._token, _ = database.run(lambda s: create_token(s, "fuzz"))
        database.engine.dispose()
        self._app = create_app()
        load_all_checks()
        self._checks: list[Any] = list(CHECKS.get_by_names(list(_CHECKS)))

    def operations(self) -> Iterator[APIOperation[Any, Any, Any, Any]]:
        """All that is described, but streams, which have no end."""
        schema = schemathesis.openapi.from_dict(self._app.openapi())
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            answers = operation.definition.raw["responses"]
            if not any(_STREAM in answer.get("content", {}) for answer in answers.values()):
                yield operation

    def run(self, operation: APIOperation[Any, Any, Any, Any], *, examples: int, seed: int) -> list[Finding]:
        """Up to `examples` good and as many bad requests; returns one finding for each thing that is wrong."""
        found: dict[str, Finding] = {}
        with self._client() as client:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._try(operation, mode, client, found, examples=examples, seed=seed)
        return list(found.values())

    def _try(
        self,
        operation: APIOperation[Any, Any, Any, Any],
        mode: GenerationMode,
        client: TestClient,
        found: dict[str, Finding],
        *,
        examples: int,
        seed: int,
    ) -> None:
        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=False,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(mode), st.data())
        def ask(case: Case[Any], data: st.DataObject) -> None:
            _use_first_ids(case, data)
            finding = self._ask(case, client)
            if finding is not None:
                found.setdefault(finding.problem, finding)

        _run(ask)

    def _ask(self, case: Case[Any], client: TestClient) -> Finding | None:
        wanted = case.as_transport_kwargs(
            base_url="http://testserver",
            headers={} if self._is_anonymous else {"Authorization": f"Bearer {self._token}"},
        )
        names = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
        request = requests.Request(**{name: wanted[name] for name in names if name in wanted}).prepare()
        shown = f"{request.method} {request.url} {request.body!r}"[:600]
        content = request.body.encode() if isinstance(request.body, str) else request.body
        try:
            answer = client.request(
                request.method or "", request.url or "", content=content, headers=dict(request.headers)
            )
        except httpx.InvalidURL:  # Longer than it sends.
            return None
        is_guarded = bool(case.operation.definition.raw.get("security"))
        if self._is_anonymous and is_guarded and answer.status_code not in _SHUT:
            return Finding(case.operation.label, shown, f"answers {answer.status_code} without a token")
        try:
            case.validate_response(answer, checks=self._checks)
        except (Failure, FailureGroup) as failure:
            return Finding(case.operation.label, shown, _words(failure, answer.text))
        return None

    @contextmanager
    def _client(self) -> Iterator[TestClient]:
        """The application over a fresh copy of the installation."""
        for ending in ("", "-wal", "-shm"):
            self._file.with_name(self._file.name + ending).unlink(missing_ok=True)
        with closing(sqlite3.connect(self._origin)) as origin, closing(sqlite3.connect(self._file)) as copy:
            origin.backup(copy)
        try:
            with TestClient(self._app, raise_server_exceptions=False, follow_redirects=False) as client:
                yield client
        finally:
            get_database().engine.dispose()
            get_database.cache_clear()

    def _url(self, path: Path) -> str:
        return f"sqlite:///{path}"


def _run(ask: Callable[[], None]) -> None:
    """Some operations have nothing that would be a bad request."""
    try:
        ask()
    except (hypothesis.errors.Unsatisfiable, hypothesis.errors.InvalidArgument):
        return


def _use_first_ids(case: Case[Any], data: st.DataObject) -> None:
    """Drawn ids are hardly ever those of something that exists."""
    for name, value in case.path_parameters.items():
        if isinstance(value, int) and not isinstance(value, bool) and data.draw(st.booleans(), label=name):
            case.path_parameters[name] = data.draw(st.integers(1, _FIRST_IDS), label=name)


def _words(failure: Failure | FailureGroup, text: str) -> str:
    failures = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
    titles = "; ".join(" ".join(str(each).split())[:300] for each in failures)
    return f"{titles} <- {text[:200]}"
