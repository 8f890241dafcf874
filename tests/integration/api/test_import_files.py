"""Member imports over HTTP: what a preview tells, saved mappings, dry runs, reports and rejects that come back."""

import csv
import io
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient
from openpyxl import Workbook
from sqlalchemy import select, update

from api.routers import member_imports
from db.engine import Database
from db.fields import FieldKind
from db.models import ClientList, CustomField, ImportReject, MemberImportChunk
from db.queries import import_files, imports
from db.queries.custom_fields import ensure_custom_fields
from db.states import ImportPolicy
from tasks.imports.run import run_import
from tests.integration.api.answers import created, fields_of, problem_of, walk

URL = "/api/member-imports"
MAPPINGS = "/api/import-mappings"
CSV = (
    b"Email;Nachname;Kunde seit;Umsatz;Stadt\n"
    b"ann@x.ie;Lee;23.11.2026;1.234,50;Cork\n"
    b"bob@x.ie;Ray;01.02.2025;12,5;Galway\n"
    b"cat@x.ie;Fox;03.04.2024;7;Cork\n"
)


@pytest.fixture
def runs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dispatched runs at once, as on a worker that is never away."""

    def dispatch(database: Database, import_id: int) -> bool:
        run_import(database, import_id, on_progress=lambda done, total: None)
        return True

    monkeypatch.setattr(member_imports, "dispatch_import", dispatch)


def post(api: TestClient, data: bytes = CSV, url: str = URL, name: str = "clients.csv", **form: Any) -> Any:
    return api.post(url, files={"file": (name, data, "text/csv")}, data=form)


def uploaded(api: TestClient, data: bytes = CSV, **form: Any) -> dict[str, Any]:
    answer = post(api, data, **form)
    assert answer.status_code == 202, answer.text
    document: dict[str, Any] = answer.json()
    return document


def previewed(api: TestClient, data: bytes = CSV, **form: Any) -> dict[str, Any]:
    answer = post(api, data, f"{URL}/preview", **form)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def workbook(**sheets: list[list[Any]]) -> bytes:
    made = Workbook()
    made.remove(made.worksheets[0])
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


class TestPreview:
    def test_it_tells_of_each_column_what_is_in_it_and_how_sure_that_is(self, api: TestClient) -> None:
        found = previewed(api)
        columns = {column["name"]: column for column in found["columns"]}
        assert columns["Email"] | {"samples": []} == {
            "name": "Email",
            "samples": [],
            "kind": "email",
            "fits": 3,
            "filled": 3,
            "date_order": None,
            "decimal": None,
            "target": "email",
            "confidence": 1.0,
            "reason": "the name says so, and 3 of 3 cells fit",
        }
        assert [(c["kind"], c["target"], c["date_order"], c["decimal"]) for c in found["columns"][2:]] == [
            ("date", "custom.kunde_seit:date", "dmy", None),
            ("number", "custom.umsatz:number", None, ","),
            ("text", "custom.stadt", None, None),
        ]
        assert columns["Stadt"]["confidence"] < 0.6 <= columns["Nachname"]["confidence"]
        assert (found["mapping"]["date_order"], found["mapping"]["decimal"]) == ("dmy", ",")
        assert found["new_fields"] == {"kunde_seit": "date", "stadt": "text", "umsatz": "number"}

    def test_dates_that_nobody_can_tell_are_read_as_in_the_region_and_it_says_so(
        self, api: TestClient
    ) -> None:
        data = b"Email,Since\n" + b"".join(b"c%d@x.ie,0%d/11/2026\n" % (n, n) for n in range(1, 9))
        for region, order in (("IE", "dmy"), ("US", "mdy")):
            found = previewed(api, data, default_region=region)
            assert found["mapping"]["date_order"] == order
            assert any(f"{order} is assumed" in note for note in found["notes"])
        found = previewed(api, data + b"z@x.ie,11/23/2026\n")
        assert (found["mapping"]["date_order"], found["notes"]) == ("mdy", [])

    def test_a_workbook_shows_its_sheets_and_another_one_can_be_chosen(self, api: TestClient) -> None:
        data = workbook(Info=[], Clients=[["Email"], ["a@x.ie"]], Old=[["Phone"], [353871234567]])
        found = previewed(api, data)
        assert (found["sheet"], found["sheets"]) == ("Clients", ["Info", "Clients", "Old"])
        assert (found["encoding"], found["delimiter"]) == (None, None)
        assert previewed(api, data, sheet="Old")["rows"] == [{"Phone": "353871234567"}]
        answer = post(api, data, f"{URL}/preview", sheet="Clint")
        assert "did you mean 'Clients'" in fields_of(answer)["body.sheet"]

    def test_a_file_without_a_header_keeps_its_first_client(self, api: TestClient) -> None:
        found = previewed(api, b"ann@x.ie,Ann\nbob@x.ie,Bob\n")
        assert (found["has_header"], found["header_row"]) == (False, 0)
        assert [row["column 1"] for row in found["rows"]] == ["ann@x.ie", "bob@x.ie"]
        assert any("has_header=true" in note for note in found["notes"])
        assert previewed(api, b"ann@x.ie,Ann\nbob@x.ie,Bob\n", has_header="true")["has_header"] is True

    def test_custom_fields_that_exist_are_suggested_by_their_key_or_label(
        self, api: TestClient, database: Database
    ) -> None:
        def define(session: Any) -> None:
            ensure_custom_fields(session, {"customer_since": FieldKind.DATE, "revenue": FieldKind.NUMBER})
            session.execute(
                update(CustomField).where(CustomField.key == "customer_since").values(label="Kunde seit")
            )

        database.run(define)
        columns = {column["name"]: column for column in previewed(api)["columns"]}
        assert columns["Kunde seit"]["target"] == "custom.customer_since"
        assert columns["Kunde seit"]["confidence"] == 1.0
        columns = {c["name"]: c for c in previewed(api, CSV.replace(b"Umsatz", b"Revenues"))["columns"]}
        assert columns["Revenues"]["target"] == "custom.revenue"
        assert "similar name" in columns["Revenues"]["reason"]
        columns = {c["name"]: c for c in previewed(api, CSV.replace(b"Stadt", b"Revenue"))["columns"]}
        assert columns["Revenue"]["target"] == "custom.revenue_2"

    def test_a_field_of_the_form_that_is_misspelt_is_refused(self, api: TestClient) -> None:
        assert "not a field" in fields_of(post(api, lst_name="Spring"))["body.lst_name"]


@pytest.mark.usefixtures("runs_at_once")
class TestWorkbook:
    def test_it_is_imported_as_a_csv_is_and_the_upload_stays_as_it_was(
        self, api: TestClient, database: Database
    ) -> None:
        data = workbook(
            Info=[["nothing"]],
            Clients=[["Email", "Mobile"], [], ["ann@x.ie", 353871234567], ["bad", None]],
        )
        made = uploaded(api, data, sheet="Clients", dry_run="true")
        with database.reading() as s:
            assert b"".join(imports.read_file(s, made["id"])) == data
        found = api.get(f"{URL}/{made['id']}").json()
        assert (found["state"], found["sheet"], found["total_rows"], found["rejected"]) == (
            "completed",
            "Clients",
            2,
            1,
        )
        assert [each["row_number"] for each in walk(api, f"{URL}/{made['id']}/rejects")] == [4]
        assert api.post(f"{URL}/{made['id']}/import").status_code == 202
        assert api.get("/api/clients").json()["items"][0]["phone"] == "+353871234567"


class TestSavedMappings:
    BODY: ClassVar[dict[str, Any]] = {
        "name": "Shop",
        "columns": {"Email": "email", "Stadt": "custom.city"},
        "date_order": "dmy",
    }

    def test_one_is_kept_read_changed_and_deleted(self, api: TestClient) -> None:
        made = created(api, MAPPINGS, **self.BODY)
        assert made["mapping"] == {
            "columns": {"Email": "email", "Stadt": "custom.city"},
            "default_region": None,
            "date_order": "dmy",
            "decimal": None,
        }
        url = f"{MAPPINGS}/{made['id']}"
        changed = api.put(url, json=self.BODY | {"name": "Laden", "columns": {"Email": "email"}}).json()
        assert (changed["name"], changed["mapping"]["columns"]) == ("Laden", {"Email": "email"})
        assert [each["name"] for each in walk(api, MAPPINGS)] == ["Laden"]
        assert api.delete(url).status_code == 204
        problem_of(api.get(url), 404)
        problem_of(api.put(url, json=self.BODY), 404)

    def test_names_are_unique_and_targets_are_checked(self, api: TestClient, database: Database) -> None:
        created(api, MAPPINGS, **self.BODY)
        other = created(api, MAPPINGS, **self.BODY | {"name": "Other"})
        assert "body.name" in fields_of(api.post(MAPPINGS, json=self.BODY), 409)
        assert "body.name" in fields_of(api.put(f"{MAPPINGS}/{other['id']}", json=self.BODY), 409)
        database.run(lambda s: ensure_custom_fields(s, {"since": FieldKind.DATE}))
        for columns, says in (
            ({"Email": "emial"}, "did you mean 'email'"),
            ({"City": "custom.city"}, "email or phone"),
            ({"Email": "email", "S": "custom.since:number"}, "'since' is a date, not a number"),
            ({"Email": "email", "S": "custom.size:choice"}, "define the field"),
        ):
            answer = api.post(MAPPINGS, json={"name": "New", "columns": columns})
            assert says in fields_of(answer)["body.columns"]
        answer = api.post(MAPPINGS, json=self.BODY | {"name": "New", "default_region": "XX"})
        assert "XX" in fields_of(answer)["body.default_region"]

    def test_an_import_takes_one_by_name_or_id(self, api: TestClient) -> None:
        made = created(api, MAPPINGS, **self.BODY)
        for word in ("Shop", str(made["id"])):
            found = uploaded(api, mapping_name=word, dry_run="true")
            assert found["mapping"]["columns"] == self.BODY["columns"]
        assert "not imported" in previewed(api, mapping_name="Shop")["notes"][0]

    def test_one_that_does_not_fit_names_what_is_missing_and_what_is_new(self, api: TestClient) -> None:
        created(api, MAPPINGS, **self.BODY)
        answer = post(api, b"Email,City,Zip\na@x.ie,Cork,1\n", mapping_name="Shop")
        assert fields_of(answer)["body.mapping_name"] == (
            "'Shop' does not fit: the file lacks 'Stadt'; it has others, which the mapping does not know: "
            "'City', 'Zip'"
        )
        assert "did you mean 'Shop'" in fields_of(post(api, mapping_name="Shp"))["body.mapping_name"]
        assert "not both" in fields_of(post(api, mapping_name="Shop", mapping="{}"))["body.mapping_name"]


class TestCustomFields:
    def kinds(self, database: Database) -> dict[str, FieldKind]:
        with database.reading() as s:
            return {field.key: field.kind for field in s.scalars(select(CustomField))}

    def test_those_that_are_not_there_are_defined_with_the_import(
        self, api: TestClient, database: Database
    ) -> None:
        made = uploaded(api)
        assert made["new_fields"] == ["kunde_seit", "stadt", "umsatz"]
        assert self.kinds(database) == {"kunde_seit": "date", "stadt": "text", "umsatz": "number"}
        assert uploaded(api)["new_fields"] == []

    def test_a_dry_run_only_names_them(self, api: TestClient, database: Database) -> None:
        made = uploaded(api, dry_run="true", list_name="Spring")
        assert made["new_fields"] == ["kunde_seit", "stadt", "umsatz"]
        assert self.kinds(database) == {}
        with database.reading() as s:
            assert s.scalars(select(ClientList)).all() == []

    def test_a_kind_that_the_field_does_not_have_is_refused(
        self, api: TestClient, database: Database
    ) -> None:
        database.run(lambda s: ensure_custom_fields(s, {"umsatz": FieldKind.TEXT}))
        mapping = '{"Email": "email", "Umsatz": "custom.umsatz:number"}'
        says = "column 'Umsatz': the custom field 'umsatz' is a text, not a number"
        assert says in fields_of(post(api, mapping=mapping))["body.mapping"]


@pytest.mark.usefixtures("runs_at_once")
class TestDryRun:
    def test_its_file_is_imported_without_another_upload(self, api: TestClient, database: Database) -> None:
        dry = uploaded(api, dry_run="true", policy="fill", list_name="Spring")
        assert (dry["created_by"], dry["policy"], dry["client_list_id"]) == ("tests", "fill", None)
        assert api.get("/api/clients").json()["items"] == []
        answer = api.post(f"{URL}/{dry['id']}/import")
        assert answer.status_code == 202, answer.text
        made = api.get(f"{URL}/{answer.json()['id']}").json()
        assert (made["state"], made["created"], made["policy"]) == ("completed", 3, "fill")
        assert (made["dry_run"], made["size_bytes"]) == (False, len(CSV))
        assert made["new_fields"] == ["kunde_seit", "stadt", "umsatz"]
        assert made["mapping"] == dry["mapping"]
        with database.reading() as s:
            assert s.get_one(ClientList, made["client_list_id"]).name == "Spring"
        assert "not kept any more" in problem_of(api.post(f"{URL}/{dry['id']}/import"), 409)["detail"]

    def test_only_a_completed_one_can_be_imported(
        self, api: TestClient, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = uploaded(api)
        assert "no dry run" in problem_of(api.post(f"{URL}/{real['id']}/import"), 409)["detail"]
        problem_of(api.post(f"{URL}/999/import"), 404)
        monkeypatch.setattr(member_imports, "dispatch_import", lambda database, import_id: False)
        waiting = uploaded(api, dry_run="true")
        assert "is queued" in problem_of(api.post(f"{URL}/{waiting['id']}/import"), 409)["detail"]

    def test_its_file_is_deleted_when_nobody_imports_it(self, api: TestClient, database: Database) -> None:
        dry = uploaded(api, dry_run="true")
        assert database.run(lambda s: import_files.delete_left_files(s, older_than_hours=1)) == []
        assert database.run(lambda s: import_files.delete_left_files(s, older_than_hours=-1)) == [dry["id"]]
        with database.reading() as s:
            assert s.scalars(select(MemberImportChunk.ordinal)).all() == []
        assert "upload it again" in problem_of(api.post(f"{URL}/{dry['id']}/import"), 409)["detail"]


class TestUndo:
    @pytest.mark.usefixtures("runs_at_once")
    def test_what_an_import_did_is_taken_back(self, api: TestClient) -> None:
        made = uploaded(api, list_name="Spring")
        answer = api.post(f"{URL}/{made['id']}/undo")
        assert (answer.status_code, answer.json()["state"]) == (202, "undoing")
        found = api.get(f"{URL}/{made['id']}").json()
        assert (found["state"], found["undone"], found["created"]) == ("undone", 3, 3)
        assert api.get("/api/clients").json()["items"] == []
        assert api.get(f"{URL}/{made['id']}/report").json()["counts"]["undone"] == 3

    def test_only_what_is_over_and_has_changed_something_can_be_undone(
        self, api: TestClient, database: Database
    ) -> None:
        waiting = uploaded(api)
        assert "when it is over" in problem_of(api.post(f"{URL}/{waiting['id']}/undo"), 409)["detail"]
        dry = uploaded(api, dry_run="true")
        run_import(database, dry["id"], on_progress=lambda done, total: None)
        assert "dry run" in problem_of(api.post(f"{URL}/{dry['id']}/undo"), 409)["detail"]
        problem_of(api.post(f"{URL}/999/undo"), 404)


@pytest.mark.usefixtures("runs_at_once")
class TestReport:
    DATA = b"Email,Name,Mobile\nann@x.ie,Ann,12345\nbad,Bob,\n,=1+1,\nworse,'=1+1,\na,b,c,d\n\"open,x\n"

    def test_it_counts_by_reason_and_column(self, api: TestClient) -> None:
        made = uploaded(api, self.DATA)
        found = api.get(f"{URL}/{made['id']}/report").json()
        assert (found["state"], found["policy"], found["dry_run"]) == ("completed", "update", False)
        assert found["counts"]["rejected"] == 5
        assert {(r["severity"], r["reason"], r["column"]): r["count"] for r in found["reasons"]} == {
            ("reject", "invalid_email", "Email"): 2,
            ("reject", "no_address", ""): 1,
            ("reject", "too_many_cells", ""): 1,
            ("reject", "unclosed_quote", ""): 1,
            ("warning", "invalid_phone", "Mobile"): 1,
        }
        problem_of(api.get(f"{URL}/999/report"), 404)

    def rejects_of(self, api: TestClient, import_id: int) -> bytes:
        content: bytes = api.get(f"{URL}/{import_id}/rejects", params={"format": "csv"}).content
        return content

    def test_rejects_that_nobody_corrected_are_rejected_again_cell_by_cell(self, api: TestClient) -> None:
        made = uploaded(api, self.DATA)
        first = self.rejects_of(api, made["id"])
        again = uploaded(api, first)
        found = api.get(f"{URL}/{again['id']}").json()
        assert (found["rejected"], found["created"]) == (5, 0)
        own = [[row[:3] for row in rows(content)] for content in (first, self.rejects_of(api, again["id"]))]
        assert own[0] == own[1]
        assert own[0] == [
            ["Email", "Name", "Mobile"],
            ["bad", "Bob", ""],
            ["", "'=1+1", ""],
            ["worse", "'=1+1", ""],
            ["a", "b", "c"],
            ["", "", ""],
        ]
        assert [row[-1] for row in rows(first)] == ["ics_surplus", "", "", "", "d", '"open,x']

    def test_rejects_that_were_corrected_are_imported(self, api: TestClient) -> None:
        made = uploaded(api, self.DATA)
        text = self.rejects_of(api, made["id"]).decode()
        for wrong, right in (("bad,", "bob@x.ie,"), ("worse,", "cat@x.ie,")):
            text = text.replace(wrong, right)
        again = uploaded(api, text.encode())
        columns = again["mapping"]["columns"]
        assert {columns[name] for name in ("ics_row", "ics_reason", "ics_surplus")} == {"ignore"}
        found = api.get(f"{URL}/{again['id']}").json()
        assert (found["created"], found["rejected"]) == (2, 3)
        clients = {c["email"]: c for c in walk(api, "/api/clients")}
        assert clients["cat@x.ie"]["first_name"] == "=1+1"

    def test_warnings_are_a_table_of_their_own(self, api: TestClient) -> None:
        made = uploaded(api, self.DATA)
        params = {"format": "csv", "severity": "warning"}
        found = rows(api.get(f"{URL}/{made['id']}/rejects", params=params).content)
        assert [row[:4] for row in found] == [
            ["row", "severity", "column", "value"],
            ["2", "warning", "Mobile", "12345"],
        ]

    def test_an_import_of_an_earlier_version_has_the_table_only(
        self, api: TestClient, database: Database
    ) -> None:
        def store(session: Any) -> int:
            stored = imports.insert_import(session, filename="a.csv", mapping={"columns": []})
            session.add(
                ImportReject(
                    import_id=stored.id,
                    severity="reject",
                    row_number=2,
                    column_name="Email",
                    value="x",
                    reason="invalid_email",
                    message="no",
                )
            )
            return stored.id

        import_id = database.run(store)
        assert rows(self.rejects_of(api, import_id))[1] == [
            "2",
            "reject",
            "Email",
            "x",
            "invalid_email",
            "no",
        ]


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_policy_that_is_none_is_refused(api: TestClient) -> None:
    assert "'update', 'fill' or 'skip'" in fields_of(post(api, policy="merge"))["body.policy"]
    assert uploaded(api, policy="skip")["policy"] == ImportPolicy.SKIP
