"""One change to many clients: by selection at once, by rule or list piece by piece, exactly once whatever happens."""

from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, delete, func, select
from sqlalchemy.exc import OperationalError

from db.engine import Database, Session
from db.errors import Conflict
from db.models import (
    Approval,
    BulkOperation,
    Client,
    ClientList,
    ClientListMember,
    FailedJob,
    FormerMember,
    Message,
)
from db.queries import bulk, bulk_changes, ledger
from db.queries.bulk_changes import MAX_TAGS, tags_after
from db.states import BulkAction, BulkState, ListKind, MessageState
from tasks.bulk.run import BulkInterrupted, BulkReport, run_operation
from tests.builders import add_campaign, add_clients, prepared, to_sending
from tests.integration.api.answers import fields_of, problem_of, walk

URL = "/api/bulk-operations"
LEE = {"field": "last_name", "operator": "is", "value": "Lee"}


@pytest.fixture
def ids(database: Database) -> list[int]:
    """Ten clients; every second one is called Lee and has a tag."""

    def add(s: Session) -> list[int]:
        found = add_clients(s, 10)
        for client in s.scalars(select(Client).where(Client.id.in_(found[::2]))):
            client.last_name, client.tags = "Lee", ["old"]
        return found

    return database.run(add)


def post(api: TestClient, status: int = 202, **body: Any) -> dict[str, Any]:
    answer = api.post(URL, json=body)
    assert answer.status_code == status, answer.text
    document: dict[str, Any] = answer.json()
    return document


def get(api: TestClient, operation_id: int) -> dict[str, Any]:
    document: dict[str, Any] = api.get(f"{URL}/{operation_id}").json()
    return document


def run(database: Database, operation_id: int, piece: int = 3) -> BulkReport:
    return run_operation(database, operation_id, on_progress=lambda walked, until: None, piece=piece)


def tags(database: Database, ids: Sequence[int]) -> list[list[str]]:
    with database.reading() as s:
        return list(s.scalars(select(Client.tags).where(Client.id.in_(ids)).order_by(Client.id)))


def add_list(
    database: Database, *members: int, name: str = "Spring", rule: dict[str, Any] | None = None
) -> int:
    def add(s: Session) -> int:
        found = ClientList(name=name, kind=ListKind.DYNAMIC if rule else ListKind.STATIC, rule=rule)
        s.add(found)
        s.flush()
        s.add_all(ClientListMember(client_list_id=found.id, client_id=key) for key in members)
        return found.id

    return database.run(add)


def members(database: Database, list_id: int) -> list[int]:
    with database.reading() as s:
        query = select(ClientListMember.client_id).where(ClientListMember.client_list_id == list_id)
        return sorted(s.scalars(query))


class TestSelections:
    def test_tags_are_put_on_and_taken_off_at_once(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        done = post(api, 201, action="add_tags", tags=["old", "né,w"], client_ids=ids[:3])
        assert (done["state"], done["matched_count"], done["changed_count"]) == ("completed", 3, 3)
        assert done["finished_at"] is not None
        assert tags(database, ids[:4]) == [["old", "né,w"]] * 3 + [[]]
        again = post(api, 201, action="add_tags", tags=["old"], client_ids=ids[:3])
        assert again["changed_count"] == 0
        post(api, 201, action="remove_tags", tags=["old", "none"], client_ids=ids)
        assert tags(database, ids[:4]) == [["né,w"]] * 3 + [[]]

    def test_who_has_all_the_tags_there_may_be_is_left_alone(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        full = [str(n) for n in range(MAX_TAGS)]

        def fill(s: Session) -> None:
            s.get_one(Client, ids[0]).tags = full

        database.run(fill)
        done = post(api, 201, action="add_tags", tags=["0", "new"], client_ids=ids[:2])
        assert (done["done_count"], done["changed_count"], done["skipped_count"]) == (2, 1, 1)
        assert tags(database, ids[:1]) == [full]

    def test_lists_are_joined_and_left_and_remembered(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        list_id = add_list(database, ids[0])
        done = post(api, 201, action="add_to_list", client_list_id=list_id, client_ids=ids[:3])
        assert (done["done_count"], done["changed_count"]) == (3, 2)
        post(api, 201, action="remove_from_list", client_list_id=list_id, client_ids=ids[1:9])
        assert members(database, list_id) == [ids[0]]
        with database.reading() as s:
            assert (
                s.scalars(select(FormerMember.client_id).order_by(FormerMember.client_id)).all() == ids[1:3]
            )

    def test_the_deleted_are_gone_and_what_was_to_be_sent_to_them_is_excluded(
        self, api: TestClient, database: Database
    ) -> None:
        execution = database.run(lambda s: prepared(s, add_campaign(s, clients=3)))
        with database.reading() as s:
            ids = list(s.scalars(select(Client.id).order_by(Client.id)))
        done = post(api, 201, action="delete", client_ids=[*ids[:2], 10**9])
        assert (done["done_count"], done["changed_count"]) == (2, 2)
        batch = database.run(lambda s: ledger.claim_batch(s, execution.id, lease_seconds=60))
        assert batch is not None
        assert len(database.run(lambda s: to_sending(s, batch))) == 1
        with database.reading() as s:
            states = s.execute(select(Message.state, Message.reason).order_by(Message.id)).all()
            approval = s.scalars(select(Approval)).one()
        assert [tuple(row) for row in states[:2]] == [(MessageState.EXCLUDED, "client_deleted")] * 2
        assert (approval.action, approval.approved_by, approval.details["matched_count"]) == (
            "bulk_delete",
            "tests",
            2,
        )


class TestRules:
    def test_those_whom_the_rule_chooses_are_changed_piece_by_piece(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        assert api.post(f"{URL}/count", json={"rule": LEE}).json() == {"matched_count": 5}
        made = post(api, action="add_tags", tags=["new"], rule=LEE)
        assert (made["state"], made["matched_count"], made["progress"]) == ("queued", 5, 0.0)
        report = run(database, made["id"])
        assert report.counts() == {"matched": 5, "done": 5, "changed": 5, "skipped": 0}
        found = get(api, made["id"])
        assert (found["state"], found["progress"], found["rule"]) == ("completed", 1.0, LEE)
        assert tags(database, ids) == [["old", "new"], []] * 5
        assert [each["id"] for each in walk(api, URL, state="completed")] == [made["id"]]
        # Once more changes nothing: it is over.
        assert run(database, made["id"]).counts() == report.counts()

    @pytest.mark.parametrize("is_dynamic", [True, False])
    def test_the_members_of_a_list_are_changed(
        self, api: TestClient, database: Database, ids: list[int], is_dynamic: bool
    ) -> None:
        source = (
            add_list(database, name="A", rule=LEE) if is_dynamic else add_list(database, *ids[::2], name="A")
        )
        target = add_list(database, name="B")
        made = post(api, action="add_to_list", client_list_id=target, members_of=source)
        run(database, made["id"])
        assert members(database, target) == ids[::2]

    def test_who_was_created_since_is_left_alone(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        made = post(api, action="add_tags", tags=["new"], rule=LEE)

        def add(s: Session) -> int:
            client = Client(identity_key="late@x.ie", email="late@x.ie", last_name="Lee")
            s.add(client)
            s.flush()
            return client.id

        late = database.run(add)
        assert run(database, made["id"]).done == 5
        assert tags(database, [late]) == [[]]

    def test_a_run_that_died_is_gone_on_with_and_each_piece_is_done_once(
        self, api: TestClient, database: Database, ids: list[int], engine: Engine
    ) -> None:
        made = post(api, action="add_tags", tags=["new"], rule=LEE)
        with pytest.raises(BulkInterrupted):
            run(Dying(engine, pieces=2), made["id"], piece=2)
        found = get(api, made["id"])
        assert (found["state"], found["done_count"], found["error"]) == ("running", 2, None)
        assert tags(database, ids) == [["old", "new"], []] * 2 + [["old"], []] * 3
        assert run(database, made["id"]).counts() == {"matched": 5, "done": 5, "changed": 5, "skipped": 0}

    def test_of_two_runs_at_once_one_finds_its_piece_taken(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        made = post(api, action="add_tags", tags=["new"], rule=LEE)
        database.run(lambda s: bulk.start_operation(s, made["id"]))
        database.run(lambda s: bulk.advance_operation(s, made["id"], after=0, piece=3))
        with pytest.raises(Conflict, match="in other hands"):
            database.run(lambda s: bulk.advance_operation(s, made["id"], after=0, piece=3))
        assert run(database, made["id"]).done == 5

    def test_one_that_is_cancelled_stops_after_its_piece(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        made = post(api, action="add_tags", tags=["new"], rule=LEE)
        stops = iter([None, api])

        def cancel_at_the_second(walked: int, until: int) -> None:
            if next(stops, None) is not None:
                assert api.post(f"{URL}/{made['id']}/cancel").json()["state"] == "cancelled"

        run_operation(database, made["id"], on_progress=cancel_at_the_second, piece=3)
        found = get(api, made["id"])
        assert (found["state"], found["done_count"]) == ("cancelled", 2)
        assert tags(database, ids) == [["old", "new"], []] * 2 + [["old"], []] * 3
        # Saying it again changes nothing; what is completed cannot be cancelled.
        assert api.post(f"{URL}/{made['id']}/cancel").status_code == 200
        done = post(api, 201, action="add_tags", tags=["x"], client_ids=ids[:1])
        problem_of(api.post(f"{URL}/{done['id']}/cancel"), 409)

    def test_an_installation_without_clients_is_done_at_once(
        self, api: TestClient, database: Database
    ) -> None:
        made = post(api, action="add_tags", tags=["new"], rule=LEE)
        assert run(database, made["id"]).state is BulkState.COMPLETED


class TestDeletions:
    def test_a_rule_deletes_those_who_were_expected(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        made = post(api, action="delete", rule=LEE, expected_count=5)
        assert run(database, made["id"]).changed == 5
        with database.reading() as s:
            assert sorted(s.scalars(select(Client.id))) == ids[1::2]

    def test_without_a_number_or_with_a_wrong_one_nobody_is_deleted(
        self, api: TestClient, database: Database
    ) -> None:
        database.run(lambda s: add_clients(s, 30))
        everybody = {"field": "email", "operator": "is_set"}
        refused = api.post(URL, json={"action": "delete", "rule": everybody})
        assert "it would be 30 now" in fields_of(refused)["body.expected_count"]
        refused = api.post(URL, json={"action": "delete", "rule": everybody, "expected_count": 19})
        assert "30 clients, and 19" in fields_of(refused, 409)["body.expected_count"]
        assert api.get(URL).json()["items"] == []
        post(api, action="delete", rule=everybody, expected_count=21)

    def test_one_that_comes_to_many_more_than_agreed_stops(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        made = post(api, action="delete", rule=LEE, expected_count=5)

        def rename(s: Session) -> None:
            add = [Client(identity_key=f"n{n}@x.ie", email=f"n{n}@x.ie", last_name="Lee") for n in range(30)]
            s.add_all(add)
            s.flush()
            s.get_one(BulkOperation, made["id"]).until_client_id = add[-1].id

        database.run(rename)
        report = run(database, made["id"], piece=8)
        assert (report.state, report.done) == (BulkState.FAILED, 11)
        found = get(api, made["id"])
        assert "more than the 15 clients" in found["error"]
        with database.reading() as s:
            job = s.scalars(select(FailedJob)).one()
            left = s.scalar(select(func.count()).select_from(Client))
        assert (job.kind, job.subject, left) == ("bulk_operation", {"bulk_operation_id": made["id"]}, 29)


class TestBadRequests:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"action": "add_tags", "tags": ["x"]}, "one of client_ids, members_of and rule"),
            ({"action": "add_tags", "tags": ["x"], "client_ids": [1], "rule": LEE}, "one of client_ids"),
            ({"action": "add_tags", "client_ids": [1]}, "tags: add_tags needs at least one"),
            ({"action": "add_tags", "tags": [], "client_ids": [1]}, "tags: add_tags needs at least one"),
            ({"action": "delete", "tags": ["x"], "client_ids": [1]}, "tags: delete takes none"),
            ({"action": "add_to_list", "client_ids": [1]}, "client_list_id: add_to_list needs one"),
            ({"action": "delete", "client_ids": [1], "client_list_id": 3}, "delete takes none"),
            ({"action": "delete", "client_ids": [1], "expected_count": 3}, "only a delete by rule"),
            ({"action": "burn", "client_ids": [1]}, "add_tags"),
            ({"action": "delete", "client_ids": list(range(1, 1002))}, "at most 1000"),
            (
                {"action": "add_to_list", "client_list_id": 9, "client_ids": [1]},
                "client list 9 does not exist",
            ),
            ({"action": "add_tags", "tags": ["x"], "rule": {"field": "nam"}}, "rule"),
        ],
    )
    def test_what_does_not_fit_is_refused_in_words(
        self, api: TestClient, body: dict[str, Any], words: str
    ) -> None:
        problem = problem_of(api.post(URL, json=body), 422)
        assert words in str(problem)

    def test_a_dynamic_list_is_none_to_put_clients_on(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        list_id = add_list(database, rule=LEE)
        answer = api.post(URL, json={"action": "add_to_list", "client_list_id": list_id, "client_ids": ids})
        assert "is dynamic" in fields_of(answer)["body.client_list_id"]

    def test_what_is_not_there_is_not_found(self, api: TestClient) -> None:
        problem_of(api.get(f"{URL}/7"), 404)
        problem_of(api.post(f"{URL}/7/cancel"), 404)
        problem_of(api.post(URL, json={"action": "add_tags", "tags": ["x"], "members_of": 7}), 404)

    def test_a_list_that_is_gone_meanwhile_fails_the_operation(
        self, api: TestClient, database: Database, ids: list[int]
    ) -> None:
        source = add_list(database, *ids)
        made = post(api, action="add_tags", tags=["x"], members_of=source)
        database.run(lambda s: s.execute(delete(ClientList).where(ClientList.id == source)))
        assert run(database, made["id"]).state is BulkState.FAILED
        assert get(api, made["id"])["error"] == f"client list {source} does not exist"


class Dying(Database):
    """A database that goes away in the middle of a piece, after this many were committed."""

    def __init__(self, engine: Engine, pieces: int) -> None:
        super().__init__(engine)
        self._left = pieces + 1

    def run(self, work: Any) -> Any:
        self._left -= 1
        if self._left >= 0:
            return super().run(work)

        def cut(s: Session) -> None:
            work(s)
            raise OperationalError("UPDATE", {}, Exception("server has gone away"))

        return super().run(cut)


def test_tags_keep_their_order_and_their_limit() -> None:
    full = [str(n) for n in range(MAX_TAGS)]
    assert tags_after(BulkAction.ADD_TAGS, ["b", "a"], ["a"]) == ["a", "b"]
    assert tags_after(BulkAction.ADD_TAGS, ["0"], full) == full
    assert tags_after(BulkAction.ADD_TAGS, ["new"], full) is None
    assert tags_after(BulkAction.REMOVE_TAGS, ["0", "x"], full) == full[1:]


def test_nobody_is_nothing_to_do(database: Database) -> None:
    change = bulk_changes.Change(BulkAction.DELETE)
    assert database.run(lambda s: bulk_changes.change_clients(s, change, [])) == bulk_changes.Changed()
