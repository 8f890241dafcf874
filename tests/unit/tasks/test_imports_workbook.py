"""Excel workbooks: cells as a person sees them, rows with their numbers, and bombs that do not go off."""

import csv
import datetime
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900

from db.errors import Invalid
from tasks.imports.formats import UnreadableFile
from tasks.imports.layout import detect_layout
from tasks.imports.reading import read_sample
from tasks.imports.sheets import NumberFormat, shown_number
from tasks.imports.strings import SharedStrings
from tasks.imports.workbook import as_text_file

MIB = 1024 * 1024
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATION = f'<Relationship Id="{{}}" Type="{OFFICE}/{{}}" Target="{{}}"/>'
PARTS = {
    "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>'
    '<sheet name="Clients" sheetId="1" r:id="r1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": "<Relationships>"
    + RELATION.format("r1", "worksheet", "worksheets/sheet1.xml")
    + RELATION.format("r2", "sharedStrings", "sharedStrings.xml")
    + "</Relationships>",
    "xl/sharedStrings.xml": f'<sst xmlns="{MAIN}"><si><t>email</t></si></sst>',
}


def saved(path: Path, *rows: list[Any], **formats: str) -> Path:
    """A workbook with these rows; `formats` are number formats by cell, e.g. B2="00000"."""
    workbook = Workbook()
    sheet = workbook.worksheets[0]
    for row in rows:
        sheet.append(row)
    for cell, number_format in formats.items():
        sheet[cell].number_format = number_format
    workbook.save(path)
    return path


def packed(path: Path, rows: str, parts: Mapping[str, str] | None = None) -> Path:
    """A workbook put together by hand: `rows` is the XML of the rows of its only sheet."""
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (PARTS | {"xl/worksheets/sheet1.xml": sheet} | dict(parts or {})).items():
            archive.writestr(name, content)
    return path


def rows_of(path: Path, folder: Path, sheet: str | None = None) -> list[list[str]]:
    with as_text_file(path, folder, sheet=sheet).path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "clients.xlsx"


class TestCells:
    def test_they_are_what_a_person_sees(self, path: Path, tmp_path: Path) -> None:
        moment = datetime.datetime(2026, 11, 23, 14, 30)  # noqa: DTZ001 - sheets know no time zones
        saved(
            path,
            ["email", "phone", "spent", "active", "since", "seen", "at", "zip"],
            ["a@x.ie", 353870000001, 12.5, True, moment.date(), moment, moment.time(), 1234],
            ["b@x.ie", 353870000002.0, 0.1 + 0.2, False, None, None, None, 12345],
            ["c@x.ie", 1e15, -3, None, None, None, datetime.timedelta(hours=26), None],
            H2="00000",
            H3="00000",
        )
        assert rows_of(path, tmp_path) == [
            ["email", "phone", "spent", "active", "since", "seen", "at", "zip"],
            [
                "a@x.ie",
                "353870000001",
                "12.5",
                "TRUE",
                "2026-11-23",
                "2026-11-23 14:30:00",
                "14:30:00",
                "01234",
            ],
            ["b@x.ie", "353870000002", "0.3", "FALSE", "", "", "", "12345"],
            ["c@x.ie", "1000000000000000", "-3", "", "", "", "1 day, 2:00:00"],
        ]

    @pytest.mark.parametrize(
        ("written", "shown"),
        [
            ("3.5387E+11", "353870000000"),
            ("353871234567", "353871234567"),
            ("1E-3", "0.001"),
            ("0.30000000000000004", "0.3"),
            ("5.0", "5"),
            ("-0.0", "0"),
            ("007", "7"),
            ("12345678901234567890", "12345678901234567890"),
            ("nan", ""),
            ("n/a", "n/a"),
        ],
    )
    def test_numbers_have_all_their_digits_and_no_others(self, written: str, shown: str) -> None:
        assert shown_number(written, NumberFormat(), CALENDAR_WINDOWS_1900) == shown

    @given(st.integers(-(10**15), 10**15) | st.decimals(-(10**9), 10**9, places=4).map(float))
    def test_a_number_is_read_back_as_the_same_number(self, number: float) -> None:
        shown = shown_number(repr(number), NumberFormat(), CALENDAR_WINDOWS_1900)
        assert float(shown) == pytest.approx(number, rel=1e-14)
        assert "e" not in shown.lower()
        assert not shown.endswith(".0")

    def test_a_formula_is_its_last_result_and_an_error_its_word(self, path: Path, tmp_path: Path) -> None:
        packed(
            path,
            '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>city</t></is></c></row>'
            '<row r="2"><c r="A2" t="str"><f>LOWER("A@X.IE")</f><v>a@x.ie</v></c>'
            '<c r="B2" t="e"><f>VLOOKUP(1,A1:A2,3)</f><v>#N/A</v></c></row>',
        )
        text = as_text_file(path, tmp_path)
        chunk = read_sample(text.path, layout=detect_layout(text.path, sheet=text.sheet))
        assert chunk.frame.to_numpy().tolist() == [["a@x.ie", ""]]
        assert [(w.row_number, w.column, w.value) for w in chunk.warnings] == [(2, "city", "#N/A")]

    def test_a_formula_as_a_name_is_text(self, path: Path, tmp_path: Path) -> None:
        formula = '=HYPERLINK("http://evil","Ann")'
        rows = f'<row r="1"><c r="A1" t="inlineStr"><is><t>{formula.replace(chr(34), "&quot;")}</t></is></c></row>'
        assert rows_of(packed(path, rows), tmp_path) == [[formula]]

    def test_rich_text_is_joined_and_phonetic_hints_are_left_out(self, path: Path, tmp_path: Path) -> None:
        strings = (
            f'<sst xmlns="{MAIN}"><si><r><t>Se</t></r><r><t xml:space="preserve">án </t></r>'
            "<rPh><t>shawn</t></rPh></si><si><t>two_x000D_\nlines_x0041_</t></si></sst>"
        )
        rows = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
        packed(path, rows, {"xl/sharedStrings.xml": strings})
        assert rows_of(path, tmp_path) == [["Seán ", "two\r\nlinesA"]]

    def test_dates_of_a_macintosh_are_counted_from_1904(self, path: Path, tmp_path: Path) -> None:
        workbook = Workbook()
        workbook.epoch = CALENDAR_MAC_1904
        workbook.worksheets[0].append([datetime.date(2026, 11, 23)])
        workbook.save(path)
        assert rows_of(path, tmp_path) == [["2026-11-23"]]

    def test_elements_may_have_a_prefix(self, path: Path, tmp_path: Path) -> None:
        sheet = (
            f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row r="1"><x:c r="A1"><x:v>5</x:v></x:c></x:row>'
            "</x:sheetData></x:worksheet>"
        )
        assert rows_of(packed(path, "", {"xl/worksheets/sheet1.xml": sheet}), tmp_path) == [["5"]]


class TestRows:
    def test_blank_rows_keep_their_numbers(self, path: Path, tmp_path: Path) -> None:
        saved(path, ["email", "name"], [], ["a@x.ie", "Ann"], [None, None], [None, "Bob"])
        text = as_text_file(path, tmp_path)
        layout = detect_layout(text.path, sheet=text.sheet)
        frame = read_sample(text.path, layout=layout).frame
        assert dict(zip(frame.index, frame.to_numpy().tolist(), strict=True)) == {
            3: ["a@x.ie", "Ann"],
            5: ["", "Bob"],
        }

    def test_cells_and_rows_that_do_not_say_where_they_are_follow_each_other(
        self, path: Path, tmp_path: Path
    ) -> None:
        packed(path, '<row><c><v>1</v></c><c r="D1"><v>4</v></c></row><row r="3"><c/><c><v>2</v></c></row>')
        assert rows_of(path, tmp_path) == [["1", "", "", "4"], [], ["", "2"]]

    def test_only_the_first_rows_are_read_for_a_sample(self, path: Path, tmp_path: Path) -> None:
        rows = '<row r="1"><c><v>1</v></c></row><row r="2"><c><v>2</v></c></row>'
        broken = rows + " " * MIB + '<row r="1"/>'
        text = as_text_file(packed(path, broken), tmp_path, rows=2)
        assert text.path.read_text() == "1\n2\n"


class TestSheets:
    def make(self, path: Path) -> Path:
        workbook = Workbook()
        workbook.worksheets[0].title = "Read me"
        hidden = workbook.create_sheet("Old")
        hidden.append(["email"])
        hidden.sheet_state = "hidden"
        workbook.create_sheet("Clients").append(["email", "name"])
        workbook.create_sheet("Spring").append(["phone"])
        workbook.save(path)
        return path

    def test_the_first_one_with_content_that_people_see_is_read(self, path: Path, tmp_path: Path) -> None:
        text = as_text_file(self.make(path), tmp_path)
        assert (text.sheet, text.sheets) == ("Clients", ("Read me", "Old", "Clients", "Spring"))

    def test_another_one_is_read_by_its_name(self, path: Path, tmp_path: Path) -> None:
        assert rows_of(self.make(path), tmp_path, "spring") == [["phone"]]

    def test_one_that_is_not_there_is_named_with_the_nearest(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(Invalid, match="no sheet 'Client'; did you mean 'Clients'") as caught:
            as_text_file(self.make(path), tmp_path, sheet="Client")
        assert caught.value.field == "sheet"

    def test_a_csv_has_none(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("email\n")
        assert as_text_file(path, tmp_path).path == path
        with pytest.raises(Invalid, match="only an Excel workbook has sheets"):
            as_text_file(path, tmp_path, sheet="A")

    def test_a_workbook_without_content_is_refused(self, path: Path, tmp_path: Path) -> None:
        with pytest.raises(UnreadableFile, match="empty"):
            as_text_file(saved(path, [None, None]), tmp_path)

    def test_macros_are_ignored(self, path: Path, tmp_path: Path) -> None:
        packed(path, '<row><c t="s"><v>0</v></c></row>', {"xl/vbaProject.bin": "macros"})
        assert rows_of(path, tmp_path) == [["email"]]


class TestDamage:
    @pytest.mark.parametrize(
        ("rows", "says"),
        [
            ('<row r="2"/><row r="1"/>', "not in order"),
            ('<row><c r="B1"><v>1</v></c><c r="A1"><v>1</v></c></row>', "not in order"),
            ('<row r="1048577"/>', "1,048,576 rows"),
            ('<row><c r="XFE1"><v>1</v></c></row>', "16,384 columns"),
            ('<row><c r="5"><v>1</v></c></row>', "no column"),
            ('<row><c t="s"><v>7</v></c></row>', "missing"),
            ('<row><c t="s"><v>-1</v></c></row>', "missing"),
            ("<row><c>", "no XML"),
            ("<row><c><v>" + "x" * (9 * MIB) + "</v></c></row>", "million characters|8 MiB"),
            ("<row>" + "<c/>" * (3 * MIB) + "</row>", "16,384 columns|8 MiB"),
            ("<row>" + f"<c><v>{'x' * 500_000}</v></c>" * 10 + "</row>", "row 1 holds more"),
            ("<!--" + "<row/>" * (2 * MIB) + "-->", "8 MiB"),
        ],
    )
    def test_it_is_named_and_nothing_of_it_read(
        self, path: Path, tmp_path: Path, rows: str, says: str
    ) -> None:
        with pytest.raises(UnreadableFile, match=says) as caught:
            as_text_file(packed(path, rows), tmp_path)
        assert caught.value.field == "file"

    @pytest.mark.parametrize("name", ["xl/_rels/workbook.xml.rels", "xl/worksheets/sheet1.xml"])
    def test_parts_that_are_missing_or_broken_are_damage(self, path: Path, tmp_path: Path, name: str) -> None:
        packed(path, "<row/>", {name: "<a"})
        with pytest.raises(UnreadableFile, match="damaged"):
            as_text_file(path, tmp_path)

    @given(st.integers(0, 2000), st.binary(min_size=1, max_size=8))
    def test_whatever_is_overwritten_there_is_an_answer(
        self, tmp_path_factory: pytest.TempPathFactory, offset: int, garbage: bytes
    ) -> None:
        folder = tmp_path_factory.mktemp("xlsx")
        path = packed(folder / "a.xlsx", '<row><c t="s"><v>0</v></c></row>')
        data = bytearray(path.read_bytes())
        offset = offset % len(data)
        data[offset : offset + len(garbage)] = garbage
        path.write_bytes(data)
        refusals = []
        try:
            as_text_file(path, folder)
        except Invalid as error:
            refusals.append(error.field)
        assert refusals in ([], ["file"])


class TestBombs:
    """Small on the disk, huge in memory: each is refused, at once, and with little memory."""

    def refused(self, path: Path, tmp_path: Path, says: str) -> None:
        tracemalloc.start()
        started = monotonic()
        with pytest.raises(UnreadableFile, match=says) as caught:
            as_text_file(path, tmp_path)
        took, (_, peak) = monotonic() - started, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert caught.value.field == "file"
        assert took < 5
        assert peak < 24 * MIB

    def test_a_part_that_unpacks_to_a_thousand_times_its_size(self, path: Path, tmp_path: Path) -> None:
        packed(path, "<row/>")
        with (
            zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
            archive.open("xl/b.xml", "w") as part,
        ):
            for _ in range(128):
                part.write(b" " * MIB)
        assert path.stat().st_size < MIB
        self.refused(path, tmp_path, "unpacks to 1,0.. times")

    def test_a_part_that_lies_about_its_size_ends_where_it_says(self, path: Path, tmp_path: Path) -> None:
        packed(path, "<row><c><v>1</v></c></row>" * 2_000_000)
        data = bytearray(path.read_bytes())
        for name in (b"PK\x01\x02", b"PK\x03\x04"):
            start = -1
            while (start := data.find(name, start + 1)) >= 0:
                size = start + (24 if name == b"PK\x01\x02" else 22)
                if struct.unpack_from("<I", data, size)[0] > 10 * MIB:
                    struct.pack_into("<I", data, size, 1000)
        path.write_bytes(data)
        self.refused(path, tmp_path, "damaged")

    def test_a_directory_of_millions_of_parts(self, path: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(12_000):
                archive.writestr(str(number), "")
        self.refused(path, tmp_path, "12,000 parts")
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(80):
                archive.writestr(f"{number}{'x' * 60_000}", "")
        self.refused(path, tmp_path, "more parts than any workbook")

    def test_entities_that_multiply(self, path: Path, tmp_path: Path) -> None:
        entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
            f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
        )
        strings = f"<!DOCTYPE sst [{entities}]><sst><si><t>&j;</t></si></sst>"
        packed(path, '<row><c t="s"><v>0</v></c></row>', {"xl/sharedStrings.xml": strings})
        self.refused(path, tmp_path, "entities")

    def test_a_text_that_many_rows_share(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.imports.workbook._MAX_TEXT_CHARACTERS", 20 * MIB)
        rows = '<row><c t="s"><v>0</v></c></row>' * 2000
        packed(path, rows, {"xl/sharedStrings.xml": f"<sst><si><t>{'x' * 900_000}</t></si></sst>"})
        assert path.stat().st_size < 10_000
        self.refused(path, tmp_path, "too much text")
        assert as_text_file(path, tmp_path, rows=1000).path.stat().st_size < 20 * MIB

    def test_parts_that_are_packed_otherwise_or_with_a_password(self, path: Path, tmp_path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("xl/workbook.xml", "x")
        self.refused(path, tmp_path, "packed in a way")
        data = bytearray(packed(path, "<row/>").read_bytes())
        data[data.find(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        self.refused(path, tmp_path, "password")


class TestStrings:
    @given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))), st.data())
    def test_they_are_found_by_their_numbers_in_any_order(
        self, tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
    ) -> None:
        strings = SharedStrings((text for text in texts), tmp_path_factory.mktemp("strings"))
        for index in data.draw(st.lists(st.integers(0, max(len(texts) - 1, 0)))) if texts else ():
            assert strings[index] == texts[index]
        with pytest.raises(IndexError):
            strings[len(texts)]
        strings.close()

    def test_those_used_last_are_in_memory_and_the_others_are_not_lost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tasks.imports.strings._KEPT_BYTES", 100_000)
        strings = SharedStrings((f"text {n}" for n in range(20_000)), tmp_path)
        order = [*range(0, 20_000, 7), *range(19_999, 0, -11), 0, 19_999, 5]
        assert [strings[n] for n in order] == [f"text {n}" for n in order]
        assert strings._kept_bytes < 150_000
        strings.close()
