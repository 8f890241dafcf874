"""Member imports over HTTP and from the command line."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from api.routers import member_imports
from db.engine import Database, Session
from db.models import ClientList
from db.queries import imports
from db.states import ImportState, ListKind
from deployments import import_command
from deployments.client import ApiClient, ApiError
from deployments.import_command import Options
from settings import get_settings
from tasks.imports.run import run_import
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/member-imports"
CSV = (
    "Email,First Name,Mobile,City\n"
    "ann@x.ie,Áine,087 123 4567,Cork\n"
    "=1+1,Nobody,,\n"
    "bob@x.ie,Bob,12,Galway\n"
    "ANN@x.ie,,,Dublin\n"
).encode()


@pytest.fixture
def runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dispatched runs at once, as on a worker that is never away."""

    def dispatch(database: Database, import_id: int) -> bool:
        run_import(database, import_id, on_progress=lambda done, total: None)
        return True

    monkeypatch.setattr(member_imports, "dispatch_import", dispatch)


def post(api: TestClient, data: bytes = CSV, name: str = "clients.csv", url: str = URL, **form: Any) -> Any:
    return api.post(url, files={"file": (name, data, "text/csv")}, data=form)


def uploaded(api: TestClient, data: bytes = CSV, **form: Any) -> dict[str, Any]:
    answer = post(api, data, **form)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def test_a_preview_shows_what_a_file_would_become_and_stores_nothing(api: TestClient) -> None:
    found = post(api, url=f"{URL}/preview").json()
    assert (found["filename"], found["encoding"], found["delimiter"]) == ("clients.csv", "utf-8", ",")
    assert [column["name"] for column in found["columns"]] == ["Email", "First Name", "Mobile", "City"]
    assert found["mapping"] == {
        "columns": {"Email": "email", "First Name": "first_name", "Mobile": "phone", "City": "custom.city"},
        "default_region": "IE",
        "date_order": "dmy",
        "decimal": ".",
    }
    assert found["new_fields"] == {"city": "text"}
    assert found["rows"][0] == {
        "Email": "ann@x.ie",
        "First Name": "Áine",
        "Mobile": "087 123 4567",
        "City": "Cork",
    }
    assert [(each["row_number"], each["column"]) for each in found["problems"]] == [
        (3, "Email"),
        (4, "Mobile"),
    ]
    assert api.get(URL).json()["items"] == []


def test_an_upload_is_stored_whole_and_waits_when_prefect_is_away(
    api: TestClient, database: Database
) -> None:
    made = uploaded(api, list_name="Spring", default_region="GB")
    assert (made["state"], made["size_bytes"], made["total_rows"], made["done_rows"]) == (
        "queued",
        len(CSV),
        None,
        0,
    )
    assert made["mapping"]["default_region"] == "GB"
    with database.reading() as s:
        assert b"".join(imports.read_file(s, made["id"])) == CSV
        assert s.get_one(ClientList, made["client_list_id"]).name == "Spring"
        waiting = imports.list_undispatched_imports(s, orphan_seconds=60, grace_seconds=-5)
    assert list(waiting) == [made["id"]]


def test_a_file_of_many_pieces_comes_back_as_it_was(api: TestClient, database: Database) -> None:
    data = b"email,note\n" + b"".join(b"c%d@x.ie,%s\n" % (n, b"x" * 1000) for n in range(2500))
    made = uploaded(api, data)
    with database.reading() as s:
        pieces = list(imports.read_file(s, made["id"]))
    assert [len(piece) for piece in pieces][:-1] == [imports.CHUNK_BYTES] * 2
    assert b"".join(pieces) == data


@pytest.mark.usefixtures("runs_at_once")
def test_an_import_ends_with_counts_that_add_up_and_rejects_with_reasons(api: TestClient) -> None:
    made = uploaded(api, list_name="Spring")
    found = api.get(f"{URL}/{made['id']}").json()
    counts = {name: found[name] for name in ("created", "updated", "duplicates", "rejected", "warnings")}
    assert counts == {"created": 2, "updated": 0, "duplicates": 1, "rejected": 1, "warnings": 2}
    assert (found["state"], found["total_rows"], found["done_rows"]) == ("completed", 4, 4)
    assert found["finished_at"] is not None
    members = api.get(f"/api/client-lists/{made['client_list_id']}/members").json()["items"]
    assert [member["email"] for member in members] == ["ann@x.ie", "bob@x.ie"]

    rejects = walk(api, f"{URL}/{made['id']}/rejects")
    assert [(each["severity"], each["row_number"], each["reason"]) for each in rejects] == [
        ("reject", 3, "invalid_email"),
        ("warning", 4, "invalid_phone"),
        ("warning", 5, "duplicate_in_file"),
    ]
    only = walk(api, f"{URL}/{made['id']}/rejects", severity="warning")
    assert [each["row_number"] for each in only] == [4, 5]


@pytest.mark.usefixtures("runs_at_once")
def test_rejects_come_as_a_csv_that_no_spreadsheet_program_runs(api: TestClient) -> None:
    made = uploaded(api)
    answer = api.get(f"{URL}/{made['id']}/rejects", params={"format": "csv", "severity": "reject"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"), newline="")))
    assert [(row["ics_row"], row["ics_column"], row["ics_reason"]) for row in rows] == [
        ("3", "Email", "invalid_email")
    ]
    assert list(rows[0])[:4] == ["Email", "First Name", "Mobile", "City"]


@pytest.mark.usefixtures("runs_at_once")
def test_a_mapping_of_ones_own_is_used(api: TestClient) -> None:
    mapping = {"columns": {"Email": "email", "City": "custom.town"}}
    made = uploaded(api, mapping=json.dumps(mapping))
    assert made["mapping"]["columns"] == mapping["columns"]
    client = api.get("/api/clients").json()["items"][0]
    assert (client["first_name"], client["custom_fields"]) == ("", {"town": "Dublin"})


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"mapping": "{"}, "body.mapping", "no JSON"),
        ({"mapping": '{"E-Mail": "email"}'}, "body.mapping", "did you mean 'Email'"),
        ({"mapping": '{"City": "custom.city"}'}, "body.mapping", "email or phone"),
        ({"default_region": "Ireland"}, "body.default_region", "pattern"),
        ({"default_region": "XX"}, "body.mapping.default_region", "XX"),
        ({"list_name": "A", "client_list_id": "1"}, "body.list_name", "not both"),
        ({"client_list_id": "0"}, "body.client_list_id", "greater"),
    ],
)
def test_a_bad_form_is_refused_by_the_name_of_its_field(
    api: TestClient, form: dict[str, Any], field: str, words: str
) -> None:
    assert words in fields_of(post(api, **form))[field]
    assert api.get(URL).json()["items"] == []


def test_a_file_that_is_no_csv_is_refused(api: TestClient) -> None:
    for url in (URL, f"{URL}/preview"):
        answer = post(api, b"\x89PNG\r\n\x1a\n" + b"\x00" * 64, url=url)
        assert "picture" in fields_of(answer)["body.file"]
    assert "body.file" in fields_of(api.post(URL, data={"list_name": "A"}))


def test_a_file_that_is_too_large_is_refused(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICS_MAX_IMPORT_BYTES", "2000")
    get_settings.cache_clear()
    for url in (URL, f"{URL}/preview"):
        answer = post(api, b"email\n" + b"a@x.ie\n" * 400, url=url)
        assert "2,000 bytes" in problem_of(answer, 413)["detail"]
    assert api.get(URL).json()["items"] == []


def test_a_list_must_exist_and_be_static(api: TestClient, database: Database) -> None:
    problem_of(post(api, client_list_id="999"), 404)

    def add_dynamic(session: Session) -> int:
        client_list = ClientList(name="Rule", kind=ListKind.DYNAMIC, rule={})
        session.add(client_list)
        session.flush()
        return client_list.id

    list_id = database.run(add_dynamic)
    assert "dynamic" in fields_of(post(api, client_list_id=str(list_id)))["body.client_list_id"]


def test_a_list_of_that_name_is_used_again(api: TestClient) -> None:
    made = created(api, "/api/client-lists", name="Spring")
    assert uploaded(api, list_name="Spring")["client_list_id"] == made["id"]


def test_a_file_name_is_only_a_name(api: TestClient) -> None:
    names = {"C:\\Users\\ann\\list.csv": "list.csv", "../../etc/x.csv": "x.csv", "é.csv": "é.csv"}
    for given, kept in names.items():
        assert post(api, name=given).json()["filename"] == kept


def test_imports_come_by_pages(api: TestClient) -> None:
    ids = [uploaded(api)["id"] for _ in range(3)]
    assert [item["id"] for item in walk(api, URL)] == ids


def test_what_is_not_there_is_said(api: TestClient, anonymous: TestClient) -> None:
    for answer in (api.get(f"{URL}/999"), api.get(f"{URL}/999/rejects"), api.post(f"{URL}/999/retry")):
        problem_of(answer, 404)
    problem_of(api.get(f"{URL}/999/rejects", params={"format": "csv"}), 404)
    del anonymous.headers["Authorization"]
    problem_of(post(anonymous), 401)


@pytest.mark.usefixtures("runs_at_once")
def test_only_a_failed_import_is_tried_again(api: TestClient, database: Database) -> None:
    made = uploaded(api)
    problem_of(api.post(f"{URL}/{made['id']}/retry"), 409)

    def store(session: Session) -> int:
        mapping = {"columns": [["Email", "email"]], "default_region": "IE"}
        stored = imports.insert_import(session, filename="clients.csv", mapping=mapping)
        imports.append_chunk(session, stored, 0, CSV)
        return stored.id

    import_id = database.run(store)
    database.run(lambda s: imports.fail_import(s, import_id, error="the disk was full"))
    assert api.get(f"{URL}/{import_id}").json()["error"] == "the disk was full"
    assert api.post(f"{URL}/{import_id}/retry").status_code == 202
    assert api.get(f"{URL}/{import_id}").json()["state"] == ImportState.COMPLETED


@pytest.mark.filterwarnings("ignore:You should not use the 'timeout' argument with the TestClient")
class TestCommand:
    """`ics import FILE`."""

    @pytest.fixture
    def client(self, api: TestClient, monkeypatch: pytest.MonkeyPatch) -> ApiClient:
        monkeypatch.setattr(import_command, "_POLL_SECONDS", 0.01)
        client = ApiClient("http://testserver", "")
        client._http.close()
        client._http = api
        return client

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "clients.csv"
        path.write_bytes(CSV + b"[red]no@,,,\n")
        return path

    def run(self, client: ApiClient, path: Path, **options: Any) -> tuple[int, str]:
        console = Console(file=io.StringIO(), width=200, force_terminal=False)
        rejects = options.pop("rejects", None)
        code = import_command.import_file(client, path, Options(**options), rejects=rejects, console=console)
        assert isinstance(console.file, io.StringIO)
        return code, console.file.getvalue()

    @pytest.mark.usefixtures("runs_at_once")
    def test_it_prints_the_counts_and_what_was_left_out(self, client: ApiClient, path: Path) -> None:
        code, printed = self.run(client, path, list_name="Spring")
        assert code == 0
        words = [line.split("│") for line in printed.splitlines()]
        cells = [[cell.strip() for cell in line[1:-1]] for line in words if len(line) > 2]
        assert ["created", "2"] in cells
        assert ["duplicates", "1"] in cells
        assert ["rejected", "2"] in cells
        assert ["6", "Email", "[red]no@"] in [line[:3] for line in cells]

    @pytest.mark.usefixtures("runs_at_once")
    def test_it_sends_the_mapping_and_the_region(
        self, client: ApiClient, path: Path, tmp_path: Path, api: TestClient
    ) -> None:
        mapping = tmp_path / "mapping.json"
        mapping.write_text('{"Email": "email", "Mobile": "phone"}')
        assert self.run(client, path, mapping=mapping, region="GB")[0] == 0
        made = api.get(URL).json()["items"][0]
        assert made["mapping"] == {
            "columns": {"Email": "email", "Mobile": "phone"},
            "default_region": "GB",
            "date_order": "dmy",
            "decimal": ".",
        }

    def test_an_import_that_fails_is_an_error(
        self, client: ApiClient, path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(database: Database, import_id: int) -> bool:
            database.run(lambda s: imports.fail_import(s, import_id, error="the disk was full"))
            return True

        monkeypatch.setattr(member_imports, "dispatch_import", failing)
        code, printed = self.run(client, path)
        assert code == 1
        assert "the disk was full" in printed

    def test_a_refusal_is_shown_by_field_and_is_bad_usage(self, client: ApiClient, tmp_path: Path) -> None:
        path = tmp_path / "picture.csv"
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00" * 64)
        code, printed = self.run(client, path)
        assert code == 2
        assert printed.startswith("file: this is a PNG picture")

    def test_a_token_that_is_refused_is_an_error(self, client: ApiClient, path: Path) -> None:
        del client._http.headers["Authorization"]
        with pytest.raises(ApiError, match="token"):
            self.run(client, path)

    @pytest.mark.usefixtures("runs_at_once")
    def test_a_dry_run_says_what_would_happen_and_how_to_go_on(
        self, client: ApiClient, path: Path, api: TestClient
    ) -> None:
        code, printed = self.run(client, path, dry_run=True, policy="fill", list_name="Spring")
        assert code == 0
        words = " ".join(printed.split())
        assert "would create" in words
        assert "Custom fields that would be defined: city" in words
        made = api.get(URL).json()["items"][0]
        assert (made["dry_run"], made["policy"], made["list_name"]) == (True, "fill", "Spring")
        assert f"`ics import --import-dry-run {made['id']}`" in words
        assert import_command.act(client, made["id"], "import", console=Console(file=io.StringIO())) == 0
        assert api.get(URL).json()["items"][1]["created"] == 2

    @pytest.mark.usefixtures("runs_at_once")
    def test_rejected_rows_are_written_to_a_file_that_can_be_imported(
        self, client: ApiClient, path: Path, tmp_path: Path
    ) -> None:
        target = tmp_path / "rejects.csv"
        code, printed = self.run(client, path, rejects=target)
        assert code == 0
        assert "2 rejected rows are in" in printed
        assert target.read_bytes().startswith(b"\xef\xbb\xbfEmail,First Name,Mobile,City,ics_row")
        assert "ics import --follow" in self.run(client, path)[1]

    def test_whoever_stops_it_is_told_how_to_go_on(
        self, client: ApiClient, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(time, "sleep", stop)
        code, printed = self.run(client, path)
        assert code == 130
        assert "goes on without this command; `ics import --follow" in " ".join(printed.split())

    @pytest.mark.usefixtures("runs_at_once")
    def test_an_import_is_taken_back(self, client: ApiClient, path: Path, api: TestClient) -> None:
        self.run(client, path)
        made = api.get(URL).json()["items"][0]
        console = Console(file=io.StringIO(), width=200)
        assert import_command.act(client, made["id"], "undo", console=console) == 0
        assert isinstance(console.file, io.StringIO)
        assert f"Import {made['id']}: undone" in console.file.getvalue()
        assert api.get("/api/clients").json()["items"] == []

    def test_an_import_that_is_not_there_is_bad_usage(self, client: ApiClient) -> None:
        console = Console(file=io.StringIO())
        assert import_command.act(client, 999, None, console=console) == 2
        assert import_command.act(client, 999, "import", console=console) == 2
