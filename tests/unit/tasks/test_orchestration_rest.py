"""How we speak to Prefect, against a server that answers what a test tells it to."""

from collections.abc import Callable

import httpx
import pytest

from tasks.orchestration import prefect_rest
from tasks.orchestration.prefect_api import is_available, run_url
from tasks.orchestration.prefect_rest import OrchestratorRefused, OrchestratorUnavailable, call

Answer = httpx.Response | Exception


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[httpx.Request]]:
    """Lets the server give these answers, one after the other; returns the requests as they come."""

    def prepare(*given: Answer) -> list[httpx.Request]:
        requests: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            answer = given[len(requests)]
            requests.append(request)
            if isinstance(answer, Exception):
                raise answer
            return answer

        client = httpx.Client(base_url="http://prefect.test/api", transport=httpx.MockTransport(handle))
        monkeypatch.setattr(prefect_rest, "_client", lambda *_: client)
        monkeypatch.setattr(prefect_rest, "_BUSY_PAUSES", (0.0, 0.0))
        return requests

    return prepare


def test_the_answer_is_the_json(answers: Callable[..., list[httpx.Request]]) -> None:
    requests = answers(httpx.Response(201, json={"id": 1}))
    assert call("POST", "/flows/", {"name": "x"}) == {"id": 1}
    assert str(requests[0].url) == "http://prefect.test/api/flows/"
    assert requests[0].content == b'{"name":"x"}'


@pytest.mark.parametrize("answer", [httpx.Response(404, json={"detail": "no"}), httpx.Response(204)])
def test_what_is_not_there_and_what_is_empty_is_none(
    answers: Callable[..., list[httpx.Request]], answer: httpx.Response
) -> None:
    answers(answer)
    assert call("GET", "/flow_runs/1") is None


def test_a_busy_server_is_asked_again(answers: Callable[..., list[httpx.Request]]) -> None:
    requests = answers(httpx.Response(503), httpx.Response(503), httpx.Response(200, json=True))
    assert call("GET", "/health") is True
    assert len(requests) == 3


def test_a_server_that_stays_busy_is_unavailable(answers: Callable[..., list[httpx.Request]]) -> None:
    requests = answers(*[httpx.Response(503)] * 3)
    with pytest.raises(OrchestratorUnavailable, match="503"):
        call("GET", "/health")
    assert len(requests) == 3


@pytest.mark.parametrize(
    "answer", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.Response(500, json={})]
)
def test_a_server_that_is_away_or_broken_is_asked_once(
    answers: Callable[..., list[httpx.Request]], answer: Answer
) -> None:
    requests = answers(answer)
    with pytest.raises(OrchestratorUnavailable) as caught:
        call("GET", "/health")
    assert not isinstance(caught.value, OrchestratorRefused)
    assert len(requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(401, json={"exception_message": "Unauthorized"}),
        httpx.Response(422, json={"exception_message": "Invalid request received."}),
        httpx.Response(200, html="<html>another server</html>"),
    ],
)
def test_a_refusal_is_told_from_an_outage(
    answers: Callable[..., list[httpx.Request]], answer: httpx.Response
) -> None:
    answers(answer)
    with pytest.raises(OrchestratorRefused, match=str(answer.status_code)):
        call("POST", "/deployments/", {})


def test_availability_is_an_answer_and_not_an_error(answers: Callable[..., list[httpx.Request]]) -> None:
    answers(httpx.Response(200, json=True), httpx.ConnectError("refused"))
    assert (is_available(), is_available()) == (True, False)


def test_the_password_travels_as_basic_authentication() -> None:
    client = prefect_rest._client("http://prefect.test/api", "admin:pa:ss")
    request = client.build_request("GET", "/health")
    assert client.auth is not None
    signed = next(client.auth.auth_flow(request))
    assert signed.headers["Authorization"] == "Basic YWRtaW46cGE6c3M="


def test_a_run_has_a_page_in_prefects_ui(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example/api/")
    assert run_url("r1") == "https://prefect.example/runs/flow-run/r1"
