"""Failed jobs over HTTP and from the command line."""

import io
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from db.engine import Database, Session
from db.queries import dispatching, executions, imports, ledger
from db.queries.executions import get_execution
from db.states import ExecutionState
from deployments import failed_jobs_command
from deployments.client import ApiClient, ApiError
from tasks.orchestration import retrying
from tests.builders import add_campaign, add_clients, prepared
from tests.integration.api.answers import fields_of, problem_of, walk

URL = "/api/failed-jobs"
GivenUp = Callable[..., int]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The runs that Prefect is asked for."""
    runs: list[tuple[str, int]] = []

    def ask(kind: str) -> Callable[[Database, int], bool]:
        def dispatch(database: Database, key: int) -> bool:
            runs.append((kind, key))
            return True

        return dispatch

    monkeypatch.setattr(retrying, "dispatch_execution", ask("execution"))
    monkeypatch.setattr(retrying, "dispatch_import", ask("import"))
    return runs


@pytest.fixture
def given_up(database: Database) -> GivenUp:
    """An execution that is completed, and whose batches have all given up."""

    def make(*, batches: int = 1, name: str = "Spring", settled: bool = True) -> int:
        def work(s: Session) -> int:
            campaign = add_campaign(s, name=name)
            for number in range(2 * batches):
                add_clients(s, 1, list_id=campaign.client_list.id, email=f"{name}{number}@example.com")
            return prepared(s, campaign, batch_size=2).id

        execution_id = database.run(work)
        for _ in range(batches):
            database.run(lambda s: give_up(s, execution_id))
        if settled:
            database.run(lambda s: executions.settle_execution(s, execution_id))
        return execution_id

    return make


def give_up(session: Session, execution_id: int) -> None:
    """The next batch of the execution uses up its attempts."""
    batch = ledger.claim_batch(session, execution_id, lease_seconds=60)
    assert batch is not None
    ledger.give_up_batch(session, batch, error="not taken: [429]")


def jobs(api: TestClient, **params: Any) -> list[dict[str, Any]]:
    return walk(api, URL, **params)


def test_a_job_is_retried_with_the_tokens_name_and_its_execution_dispatched(
    api: TestClient, given_up: GivenUp, asked: list[tuple[str, int]]
) -> None:
    execution_id = given_up()
    [job] = jobs(api, state="open")
    answer = api.post(f"{URL}/{job['id']}/retry")
    assert answer.status_code == 200
    retried = answer.json()
    assert (retried["state"], retried["retried_by"], retried["effect"]) == ("retried", "tests", "dispatched")
    assert asked == [("execution", execution_id)]
    assert api.get(f"/api/flow-executions/{execution_id}").json()["state"] == "sending"
    stats = api.get(f"/api/flow-executions/{execution_id}/stats?verify=true").json()
    assert stats["is_equal_to_recount"] is True
    assert stats["messages"]["pending"] == 2

    [shown] = jobs(api)
    assert shown == {name: value for name, value in retried.items() if name != "effect"}
    again = problem_of(api.post(f"{URL}/{job['id']}/retry"), 409)
    assert f"{retried['retried_at'][:19].replace('T', ' ')} UTC, by tests" in again["detail"]
    assert len(asked) == 1


def test_a_retry_waits_for_the_dispatcher_while_prefect_is_away(
    api: TestClient, given_up: GivenUp, database: Database
) -> None:
    execution_id = given_up()
    assert api.post(f"{URL}/{jobs(api)[0]['id']}/retry").status_code == 200
    with database.reading() as s:
        waiting = dispatching.list_undispatched(s, limit=10, orphan_seconds=30, grace_seconds=-5)
    assert waiting == [execution_id]


def test_a_refused_request_is_retried_by_resuming(
    api: TestClient, database: Database, asked: list[tuple[str, int]]
) -> None:
    execution_id = database.run(lambda s: prepared(s, add_campaign(s, clients=2)).id)
    database.run(lambda s: executions.pause_with_failed_job(s, execution_id, 1, error="401: wrong key"))
    assert api.post(f"{URL}/{jobs(api)[0]['id']}/retry").json()["effect"] == "dispatched"
    assert asked == [("execution", execution_id)]
    with database.reading() as s:
        assert get_execution(s, execution_id).state is ExecutionState.SENDING


def test_a_failed_import_is_retried_by_dispatching_it(
    api: TestClient, database: Database, asked: list[tuple[str, int]]
) -> None:
    import_id = database.run(lambda s: imports.insert_import(s, filename="a.csv", mapping={}).id)
    database.run(lambda s: imports.fail_import(s, import_id, error="the disk was full"))
    [job] = jobs(api, kind="import")
    assert api.post(f"{URL}/{job['id']}/retry").json()["effect"] == "dispatched"
    assert asked == [("import", import_id)]


def test_what_cannot_be_retried_is_said(
    api: TestClient, anonymous: TestClient, given_up: GivenUp, database: Database
) -> None:
    execution_id = given_up(settled=False)
    database.run(lambda s: executions.cancel_execution(s, execution_id))
    problem = problem_of(api.post(f"{URL}/{jobs(api)[0]['id']}/retry"), 409)
    assert problem["detail"] == f"execution {execution_id} is cancelled: nothing of it is sent any more"
    problem_of(api.post(f"{URL}/999/retry"), 404)
    assert list(fields_of(api.post(f"{URL}/retry", params={"kind": "coffee"}))) == ["query.kind"]
    assert list(fields_of(api.post(f"{URL}/retry", params={"colour": 1}))) == ["query.colour"]
    del anonymous.headers["Authorization"]
    problem_of(anonymous.post(f"{URL}/1/retry"), 401)
    problem_of(anonymous.post(f"{URL}/retry"), 401)


def test_all_open_jobs_are_retried_by_pages_and_each_execution_dispatched_once(
    api: TestClient, given_up: GivenUp, asked: list[tuple[str, int]], database: Database
) -> None:
    first, second = given_up(batches=3, name="One"), given_up(batches=2, name="Two", settled=False)
    database.run(lambda s: executions.cancel_execution(s, second))
    listed = [job["id"] for job in jobs(api)]

    page = api.post(f"{URL}/retry", params={"limit": 2}).json()
    assert [job["id"] for job in page["retried"]] == listed[:2]
    assert [job["effect"] for job in page["retried"]] == ["dispatched", "waiting"]
    assert (page["refused"], page["left"], page["next_cursor"]) == ([], 3, listed[1])
    rest = api.post(f"{URL}/retry", params={"cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in rest["retried"]] == listed[2:3]
    assert [job["id"] for job in rest["refused"]] == listed[3:]
    assert "is cancelled" in rest["refused"][0]["detail"]
    assert (rest["left"], rest["next_cursor"]) == (0, None)

    assert asked == [("execution", first)]
    assert [job["id"] for job in jobs(api, state="open")] == listed[3:]
    stats = api.get(f"/api/flow-executions/{first}/stats?verify=true").json()
    assert (stats["is_equal_to_recount"], stats["messages"]["pending"]) == (True, 6)


def test_all_jobs_of_one_execution_or_kind_are_retried(
    api: TestClient, given_up: GivenUp, asked: list[tuple[str, int]]
) -> None:
    first, second = given_up(name="One"), given_up(name="Two")
    nothing = api.post(f"{URL}/retry", params={"kind": "request_refused"}).json()
    assert nothing == {"retried": [], "refused": [], "left": 0, "next_cursor": None}
    page = api.post(f"{URL}/retry", params={"kind": "send_batch", "execution_id": second}).json()
    assert [job["execution_id"] for job in page["retried"]] == [second]
    assert [job["execution_id"] for job in jobs(api, state="open")] == [first]


class TestCommand:
    """`ics failed-jobs`."""

    @pytest.fixture
    def client(self, api: TestClient) -> ApiClient:
        client = ApiClient("http://testserver", "")
        client._http.close()
        client._http = api
        return client

    @pytest.fixture
    def console(self, monkeypatch: pytest.MonkeyPatch) -> Console:
        monkeypatch.setattr(failed_jobs_command, "_PAGE", 2)
        return Console(file=io.StringIO(), width=400, force_terminal=False)

    def test_it_lists_what_is_open_or_all(
        self, client: ApiClient, console: Console, given_up: GivenUp, asked: list[tuple[str, int]]
    ) -> None:
        failed_jobs_command.list_jobs(client, console=console)
        assert "no failed jobs" in printed(console)
        execution_id = given_up(batches=3)
        client.post(f"{URL}/{client.get(URL)['items'][0]['id']}/retry")
        failed_jobs_command.list_jobs(client, console=console)
        assert printed(console).count("send_batch") == 2
        failed_jobs_command.list_jobs(client, with_retried=True, console=console)
        text = printed(console)
        assert text.count("send_batch") == 3
        assert text.count("not taken: [429]") == 3
        assert f"execution {execution_id}, batch " in text
        assert " tests " in text

    def test_it_retries_one(
        self, client: ApiClient, console: Console, given_up: GivenUp, asked: list[tuple[str, int]]
    ) -> None:
        given_up()
        [job] = client.get(URL)["items"]
        failed_jobs_command.retry_job(client, job["id"], console=console)
        assert printed(console) == f"failed job {job['id']} (send_batch): dispatched\n"
        with pytest.raises(ApiError, match="retried already"):
            failed_jobs_command.retry_job(client, job["id"], console=console)

    def test_it_retries_all_and_says_what_stays(
        self,
        client: ApiClient,
        console: Console,
        given_up: GivenUp,
        asked: list[tuple[str, int]],
        database: Database,
    ) -> None:
        given_up(batches=5, name="One")
        assert failed_jobs_command.retry_all(client, console=console) == 0
        text = printed(console)
        assert "5/5" in text
        assert "5 retried, 0 refused" in text
        cancelled = given_up(name="Two", settled=False)
        database.run(lambda s: executions.cancel_execution(s, cancelled))
        assert failed_jobs_command.retry_all(client, console=console) == 1
        assert f"stays: execution {cancelled} is cancelled" in printed(console)


def printed(console: Console) -> str:
    """What was printed since the last look."""
    file = console.file
    assert isinstance(file, io.StringIO)
    text = file.getvalue()
    file.seek(0)
    file.truncate()
    return text
