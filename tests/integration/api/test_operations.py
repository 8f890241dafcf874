"""What the operator sees over HTTP."""

from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from db.engine import Database
from db.models import FailedJob
from db.states import JobState
from tests.integration.api.answers import fields_of, walk

URL = "/api/failed-jobs"


def test_failed_jobs_come_by_pages_state_and_execution(api: TestClient, database: Database) -> None:
    def add(s: Session) -> list[int]:
        jobs = [
            FailedJob(kind="send_batch", execution_id=1, subject={"batch_id": 7}, error="gave up"),
            FailedJob(kind="import", execution_id=None, error="bad file"),
            FailedJob(kind="send_batch", execution_id=1, error="again", state=JobState.RETRIED),
        ]
        s.add_all(jobs)
        s.flush()
        return [job.id for job in jobs]

    ids = database.run(add)
    listed = walk(api, URL)
    assert [item["id"] for item in listed] == ids
    assert (listed[0]["kind"], listed[0]["subject"], listed[0]["error"]) == (
        "send_batch",
        {"batch_id": 7},
        "gave up",
    )
    assert [item["id"] for item in walk(api, URL, state="open")] == ids[:2]
    assert [item["id"] for item in walk(api, URL, execution_id=1)] == [ids[0], ids[2]]
    assert [item["id"] for item in walk(api, URL, execution_id=1, state="retried")] == [ids[2]]
    assert list(fields_of(api.get(URL, params={"execution_id": 0}))) == ["query.execution_id"]
