"""Client lists and their members over HTTP."""

from fastapi.testclient import TestClient

from db.engine import Database
from tests.builders import add_campaign, add_clients
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/client-lists"


def test_a_list_is_created_changed_and_deleted(api: TestClient) -> None:
    made = created(api, URL, name=" Customers ", description="All of them\nand more")
    assert (made["name"], made["kind"], made["member_count"]) == ("Customers", "static", 0)
    url = f"{URL}/{made['id']}"
    changed = api.patch(url, json={"name": "Friends"}).json()
    assert (changed["name"], changed["description"]) == ("Friends", "All of them\nand more")
    assert api.patch(url, json={"description": ""}).json()["name"] == "Friends"
    assert api.delete(url).status_code == 204
    for gone in (api.get(url), api.patch(url, json={}), api.delete(url), api.get(f"{url}/members")):
        problem_of(gone, 404)


def test_a_name_is_taken_once(api: TestClient) -> None:
    created(api, URL, name="Customers")
    other = created(api, URL, name="customers")
    taken = {"body.name": "a list named 'Customers' exists already"}
    assert fields_of(api.post(URL, json={"name": "Customers"}), 409) == taken
    assert fields_of(api.patch(f"{URL}/{other['id']}", json={"name": "Customers"}), 409) == taken


def test_lists_come_by_pages_with_their_counts(api: TestClient, database: Database) -> None:
    ids = [created(api, URL, name=f"List {number}")["id"] for number in range(5)]
    database.run(lambda s: add_clients(s, 3, list_id=ids[1]))
    assert [(item["id"], item["member_count"]) for item in walk(api, URL)] == [
        (ids[0], 0),
        (ids[1], 3),
        *((list_id, 0) for list_id in ids[2:]),
    ]


def test_a_bad_list_is_refused_by_the_name_of_its_field(api: TestClient) -> None:
    bad = {"name": " ", "description": "x" * 2001, "kind": "other", "rule": [], "members": []}
    found = fields_of(api.post(URL, json=bad))
    assert found.keys() == {"body.name", "body.description", "body.kind", "body.rule", "body.members"}
    empty = fields_of(api.post(URL, json={"name": "Rule", "kind": "dynamic", "rule": {}}))
    assert empty == {"body.rule": "one of 'all', 'any', 'not', 'field', 'message' is needed"}
    assert fields_of(api.patch(f"{URL}/1", json={"name": None})).keys() == {"body.name"}


def test_members_are_added_once_and_taken_off(api: TestClient, database: Database) -> None:
    made = created(api, URL, name="Customers")
    url = f"{URL}/{made['id']}/members"
    ids = database.run(lambda s: add_clients(s, 5))
    assert api.post(url, json={"client_ids": ids[:3]}).json() == {"changed": 3}
    assert api.post(url, json={"client_ids": [*ids, ids[0]]}).json() == {"changed": 2}
    assert [item["id"] for item in walk(api, url)] == ids
    assert api.get(f"{URL}/{made['id']}").json()["member_count"] == 5
    assert api.request("DELETE", url, json={"client_ids": [ids[0], ids[4], 999_999]}).json() == {"changed": 2}
    assert [item["id"] for item in walk(api, url)] == ids[1:4]
    assert api.get(f"/api/clients/{ids[0]}").status_code == 200


def test_unknown_clients_are_named_and_nobody_is_added(api: TestClient, database: Database) -> None:
    made = created(api, URL, name="Customers")
    url = f"{URL}/{made['id']}/members"
    ids = database.run(lambda s: add_clients(s, 1))
    assert fields_of(api.post(url, json={"client_ids": [*ids, 900_002, 900_001]})) == {
        "body.client_ids": "these clients do not exist: 900001, 900002"
    }
    many = fields_of(api.post(url, json={"client_ids": list(range(900_001, 900_031))}))["body.client_ids"]
    assert many.endswith("900020 and 10 more")
    assert walk(api, url) == []


def test_members_are_refused_for_a_list_that_is_not_there_and_in_bad_shapes(api: TestClient) -> None:
    problem_of(api.post(f"{URL}/77/members", json={"client_ids": [1]}), 404)
    for bad in ([], [0], [2**63], [True], ["a"], list(range(1, 1002))):
        found = fields_of(api.post(f"{URL}/77/members", json={"client_ids": bad}))
        assert all(name.startswith("body.client_ids") for name in found)


def test_a_list_that_a_flow_uses_stays(api: TestClient, database: Database) -> None:
    campaign = database.run(lambda s: add_campaign(s, clients=2))
    problem = problem_of(api.delete(f"{URL}/{campaign.client_list.id}"), 409)
    assert problem["detail"] == f"flow {campaign.flow.id} uses this list; give it another one first"
    assert len(walk(api, f"{URL}/{campaign.client_list.id}/members")) == 2
