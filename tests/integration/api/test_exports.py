"""Exports of clients: what is in them, what no spreadsheet program runs, and what a broken one looks like."""

import csv
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Engine, delete
from sqlalchemy.exc import OperationalError

from db.engine import Database, Session, get_database
from db.fields import FieldKind
from db.models import Client, ClientList, ClientListMember, CustomField
from db.queries.tokens import create_token
from db.states import Consent, ListKind
from tasks.exports import reading
from tasks.exports.columns import choose_columns
from tasks.exports.reading import Source
from tasks.exports.writing import write_workbook
from tasks.imports.run import run_import
from tests.builders import add_clients
from tests.integration.api.answers import fields_of, problem_of

URL = "/api/clients/export"
ROWS_OF_A_PIECE = 2


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE_ROWS", ROWS_OF_A_PIECE)


def add_fields(s: Session) -> None:
    for key, kind in (("city", FieldKind.TEXT), ("visits", FieldKind.NUMBER), ("phone", FieldKind.TEXT)):
        s.add(CustomField(key=key, label=key, kind=kind))


def table_of(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    assert answer.content.startswith(b"\xef\xbb\xbf")
    text = answer.content.decode("utf-8-sig")
    return list(csv.reader(io.StringIO(text, newline="")))


def records_of(answer: httpx.Response) -> list[dict[str, str]]:
    header, *rows = table_of(answer)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_all_clients_come_once_each_in_the_order_of_their_ids(api: TestClient, database: Database) -> None:
    ids = database.run(lambda s: add_clients(s, 7))
    answer = api.get(URL, params={"columns": "client_id,email"})
    assert table_of(answer) == [
        ["client_id", "email"],
        *([str(key), f"client{n}@example.com"] for n, key in enumerate(ids)),
    ]
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="clients-20')


def test_a_client_is_written_with_custom_fields_as_columns_and_tags_in_one_cell(
    api: TestClient, database: Database
) -> None:
    def add(s: Session) -> None:
        add_fields(s)
        custom = {"city": "Cork", "visits": -3}
        add_clients(s, 1, tags=["vip", "spring"], custom_fields=custom, sms_consent=Consent.DENIED)

    database.run(add)
    [found] = records_of(api.get(URL))
    assert found == {
        "email": "client0@example.com",
        "phone": "+353870000000",
        "first_name": "Client0",
        "last_name": "O'Neill",
        "external_id": "",
        "time_zone": "",
        "locale": "",
        "tags": "vip, spring",
        "email_consent": "unknown",
        "sms_consent": "denied",
        "custom.city": "Cork",
        "custom.phone": "",
        "custom.visits": "-3",
    }


def test_no_cell_is_run_as_a_formula(api: TestClient, database: Database) -> None:
    evil = ["=1+1", "+1+cmd|' /C calc'!A0", "@SUM(A1)", "-2+3", "\t=1"]

    def add(s: Session) -> None:
        s.add(CustomField(key="note", kind=FieldKind.TEXT))
        for n, text in enumerate(evil):
            mail = f"c{n}@x.ie"
            s.add(
                Client(
                    identity_key=mail,
                    email=mail,
                    first_name=text,
                    tags=[text],
                    custom_fields={"note": text},
                )
            )

    database.run(add)
    for found, text in zip(records_of(api.get(URL)), evil, strict=True):
        assert (found["first_name"], found["tags"], found["custom.note"]) == ("'" + text,) * 3

    answer = api.get(URL, params={"format": "xlsx"})
    sheet = openpyxl.load_workbook(io.BytesIO(answer.content))["clients"]
    cells = [cell for row in sheet.iter_rows(min_row=2) for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s"}
    assert [row[2].value for row in sheet.iter_rows(min_row=2)] == evil


def test_a_list_has_its_members_only_and_is_named_in_the_file(api: TestClient, database: Database) -> None:
    def add(s: Session) -> tuple[int, list[int]]:
        ids = add_clients(s, 9)
        found = ClientList(name="Frühling 2026")
        s.add(found)
        s.flush()
        s.add_all(ClientListMember(client_list_id=found.id, client_id=key) for key in ids[::2])
        return found.id, ids[::2]

    list_id, members = database.run(add)
    answer = api.get(f"/api/client-lists/{list_id}/export", params={"columns": "client_id"})
    assert [int(row["client_id"]) for row in records_of(answer)] == members
    assert f'filename="list-{list_id}-fruhling-2026-20' in answer.headers["content-disposition"]
    answer = api.post(URL, json={"client_list_id": list_id, "columns": ["client_id"]})
    assert [int(row["client_id"]) for row in records_of(answer)] == members


def test_a_rule_or_a_dynamic_list_exports_those_whom_it_chooses(api: TestClient, database: Database) -> None:
    rule = {"field": "first_name", "operator": "in", "value": ["Client1", "Client4", "Client6"]}

    def add(s: Session) -> tuple[int, list[int]]:
        ids = add_clients(s, 8)
        found = ClientList(name="chosen", kind=ListKind.DYNAMIC, rule=rule)
        s.add(found)
        s.flush()
        return found.id, [ids[1], ids[4], ids[6]]

    list_id, chosen = database.run(add)
    by_rule = api.post(URL, json={"rule": rule, "columns": ["client_id"]})
    by_list = api.get(f"/api/client-lists/{list_id}/export", params={"columns": "client_id"})
    for answer in (by_rule, by_list):
        assert [int(row["client_id"]) for row in records_of(answer)] == chosen
    wrong = {**rule, "field": "first_nam"}
    assert "first_name" in str(fields_of(api.post(URL, json={"rule": wrong})))


def test_chosen_clients_are_read_in_pieces_and_those_who_are_gone_are_left_out(database: Database) -> None:
    ids = database.run(lambda s: add_clients(s, 5))
    database.run(lambda s: s.execute(delete(Client).where(Client.id == ids[1])))
    pieces = reading.read_pieces(database, Source(chosen=ids), ["email"], lambda rows: [r[0] for r in rows])
    assert list(pieces) == [[ids[0]], ids[2:4], ids[4:]]


def test_an_empty_export_has_its_header(api: TestClient) -> None:
    assert table_of(api.get(URL, params={"columns": "email"})) == [["email"]]


@pytest.mark.parametrize(
    ("params", "field", "words"),
    [
        ({"columns": "mail"}, "query.columns", "did you mean 'email'?"),
        ({"columns": ""}, "query.columns", "there is no column"),
        ({"format": "pdf"}, "query.format", "'csv' or 'xlsx'"),
        ({"colums": "email"}, "query.colums", "is not a field"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_first_byte(
    api: TestClient, params: dict[str, str], field: str, words: str
) -> None:
    assert words in fields_of(api.get(URL, params=params))[field]


def test_a_list_that_is_not_there_is_not_found(api: TestClient) -> None:
    problem_of(api.get("/api/client-lists/7/export"), 404)
    problem_of(api.post(URL, json={"client_list_id": 7}), 404)
    assert "not both" in fields_of(api.post(URL, json={"client_list_id": 7, "rule": {}}))["body.rule"]


def test_a_workbook_goes_on_on_the_next_sheet(tmp_path: Path, engine: Engine) -> None:
    database = Database(engine)
    odd = {0: "#N/A", 1: "a\x0bb\x1f", 2: "1e5", 3: " x "}

    def add(s: Session) -> None:
        for key, client_id in enumerate(add_clients(s, 5)):
            s.get_one(Client, client_id).first_name = odd.get(key, "")

    database.run(add)
    path = tmp_path / "x.xlsx"
    columns = choose_columns(["first_name", "last_name"], [])
    write_workbook(path, database, Source(), columns, most_rows=3)
    book = openpyxl.load_workbook(path)
    found = {sheet.title: [[cell.value for cell in row] for row in sheet] for sheet in book}
    header = ["first_name", "last_name"]
    assert found == {
        "clients": [header, ["#N/A", "O'Neill"], ["ab", "O'Neill"]],
        "clients 2": [header, ["1e5", "O'Neill"], [" x ", "O'Neill"]],
        "clients 3": [header, [None, "O'Neill"]],
    }


class Failing(Database):
    """A database that goes away after some more readings."""

    def __init__(self, engine: Engine, readings: int) -> None:
        super().__init__(engine)
        self.left = readings

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self.left -= 1
        if self.left < 0:
            raise OperationalError("SELECT", {}, Exception("server has gone away"))
        with super().reading() as session:
            yield session


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The API on a real socket: what matters here is what a connection shows."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def test_an_export_that_fails_midway_does_not_look_complete(
    app: FastAPI, database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.run(lambda s: add_clients(s, 3 * ROWS_OF_A_PIECE))
    plain, _ = database.run(lambda s: create_token(s, "tests"))
    # Whose token it is, which columns there are, and two of the three pieces.
    failing = Failing(engine, readings=4)
    monkeypatch.setattr(app, "dependency_overrides", {get_database: lambda: failing})
    got: list[bytes] = []
    with (
        served(app) as url,
        httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {plain}"}) as http,
    ):
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            download(http, url + URL, got)
        assert b"client3@" in b"".join(got)
        assert b"client4@" not in b"".join(got)
        failing.left = 3
        # A workbook is written before it is answered, so its failure is an answer of its own.
        assert http.get(url + URL, params={"format": "xlsx"}).status_code == 503


def download(http: httpx.Client, url: str, got: list[bytes]) -> None:
    with http.stream("GET", url, params={"columns": "email"}) as answer:
        assert answer.status_code == 200
        got.extend(answer.iter_raw())


def test_what_was_exported_can_be_imported_again(api: TestClient, database: Database) -> None:
    def add(s: Session) -> None:
        add_fields(s)
        values: list[dict[str, Any]] = [
            {"first_name": "Áine", "last_name": 'O"Neill, Jr.', "tags": ["vip", "Späti"]},
            {"external_id": "crm-7", "time_zone": "Europe/Dublin", "locale": "en-IE"},
            {"email_consent": Consent.DENIED, "sms_consent": Consent.GRANTED},
            {"custom_fields": {"city": "Cork\nNorth", "phone": "087 123"}},
            {"email": None, "first_name": "Phone only"},
        ]
        for n, row in enumerate(values):
            full = {"email": f"c{n}@x.ie", "phone": f"+35387123456{n}", **row}
            full["identity_key"] = full["email"] or full["phone"]
            s.add(Client(**full))

    database.run(add)
    before = all_clients(api)
    file = api.get(URL).content
    database.run(lambda s: s.execute(delete(Client)))
    made = api.post("/api/member-imports", files={"file": ("export.csv", file, "text/csv")}).json()
    run_import(database, made["id"], on_progress=lambda done, total: None)
    report = api.get(f"/api/member-imports/{made['id']}").json()
    assert (report["created"], report["rejected"], report["warnings"]) == (5, 0, 0)
    assert all_clients(api) == before


def all_clients(api: TestClient) -> list[dict[str, Any]]:
    """Without what an installation gives them, in an order that does not come from it."""
    own = ("id", "created_at", "updated_at")
    found = api.get("/api/clients").json()["items"]
    facts = [{name: value for name, value in each.items() if name not in own} for each in found]
    return sorted(facts, key=lambda each: str(each["phone"]))
