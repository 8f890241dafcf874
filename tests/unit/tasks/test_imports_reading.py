"""Files as programs and people write them: every row is read, or rejected with its number."""

import csv
import io
import json
import string
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.imports.artefacts import is_error
from tasks.imports.formats import UnreadableFile
from tasks.imports.layout import Layout, detect_layout
from tasks.imports.reading import Chunk, count_rows, read_chunks, read_sample
from tasks.imports.rejects import Reason
from tasks.imports.workbook import as_text_file
from tasks.spreadsheets import restored


def written(tmp_path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path = tmp_path / "clients.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def rows_of(chunk: Chunk) -> list[tuple[int, list[str]]]:
    return [(int(n), row) for n, row in zip(chunk.frame.index, chunk.frame.values.tolist(), strict=True)]


class TestLayout:
    @pytest.mark.parametrize(
        ("encoding", "detected"),
        [
            ("utf-8", "utf-8"),
            ("utf-8-sig", "utf-8-sig"),
            ("utf-16", "utf-16"),
            ("utf-16-le", "utf-16-le"),
            ("utf-16-be", "utf-16-be"),
            ("cp1252", "cp1252"),
        ],
    )
    def test_encodings_are_told_apart(self, tmp_path: Path, encoding: str, detected: str) -> None:
        path = written(tmp_path, "email,name\nsean@example.com,Seán Ó Néill\n" * 3, encoding)
        assert detect_layout(path).encoding == detected
        assert read_sample(path).frame["name"].iloc[0] == "Seán Ó Néill"

    def test_an_accent_far_behind_the_beginning_decides_the_encoding(self, tmp_path: Path) -> None:
        rows = "email,name\n" + "a@example.com,Ann\n" * 40_000
        path = written(tmp_path, rows + "z@example.com,Zoë\n", "cp1252")
        assert detect_layout(path).encoding == "cp1252"

    def test_few_broken_bytes_do_not_turn_utf8_into_something_else(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"email,name\n" + "a@example.com,Zoë\n".encode() * 50 + b"b,\xff\n")
        assert detect_layout(path).encoding == "utf-8"

    @pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
    def test_delimiters_are_told_apart(self, tmp_path: Path, delimiter: str) -> None:
        text = "\n".join(
            delimiter.join(row) for row in (("email", "city"), ("a@example.com", "Cork; not, far"))
        )
        text = text.replace("Cork; not, far", '"Cork; not, far | at all\t"')
        layout = detect_layout(written(tmp_path, text))
        assert (layout.delimiter, layout.columns) == (delimiter, ("email", "city"))

    def test_a_line_that_announces_the_delimiter_is_no_header(self, tmp_path: Path) -> None:
        path = written(tmp_path, "sep=;\r\nemail;city\r\na@example.com;Cork\r\n")
        layout = detect_layout(path)
        assert (layout.columns, layout.header_row) == (("email", "city"), 2)
        assert rows_of(read_sample(path)) == [(3, ["a@example.com", "Cork"])]

    def test_columns_get_distinct_names(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,Email ,,Email,Email (2)\na@example.com,b,c,d,e\n")
        columns = detect_layout(path).columns
        assert len(set(columns)) == 5
        assert columns[:4] == ("email", "Email", "column 3", "Email (2)")

    def test_a_single_column_is_enough_if_its_name_says_what_it_is(self, tmp_path: Path) -> None:
        assert detect_layout(written(tmp_path, "Email\na@example.com\n")).columns == ("Email",)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "<a/>")
    return buffer.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b" \r\n \n", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "PNG"),
        (b"%PDF-1.7\n%abc", "PDF"),
        (b"PK\x03\x04garbage", "damaged"),
        (zipped("clients.csv"), "a zip archive, not a CSV; unpack it"),
        (zipped("other.zip", "inside/clients.xlsx"), "a zip archive, not a CSV; unpack it"),
        (zipped("xl/workbook.bin"), r"\(.xlsb\).*'Excel workbook \(.xlsx\)'"),
        (zipped("mimetype", "content.xml"), r"\(.ods\).*'CSV UTF-8'"),
        (zipped("Index/Document.iwa"), "Numbers"),
        (zipped("word/document.xml"), "Word"),
        (OLE, r"\(\.xls\).*'Excel workbook \(.xlsx\)'"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "with a password; remove the password"),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
        (b'[{"email": "a@example.com"}]', "JSON"),
        (b'<?xml version="1.0"?><a/>', "XML"),
        (b"BEGIN:VCARD\nVERSION:3.0\n", "vCard"),
        (bytes(range(256)) * 4, "no text"),
        (b"email,na\x00\x00\x00\x00me\n\x00\x00\x00", "no text"),
        (b"just some words\nand others\n", "no columns"),
        (b",,,\n,,,\n", "no column names"),
    ],
)
def test_a_file_that_is_no_csv_is_named_for_what_it_is(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as caught:
        detect_layout(as_text_file(written(tmp_path, content), tmp_path).path)
    assert caught.value.field == "file"


class TestHeader:
    @pytest.mark.parametrize(
        "first", ["ann@example.com,Ann", "Ann,+353 87 123 4567", "Ann,(087) 123-4567", "Ann,087 123 4567"]
    )
    def test_a_first_row_with_an_address_is_a_client_and_is_not_lost(
        self, tmp_path: Path, first: str
    ) -> None:
        path = written(tmp_path, f"{first}\nbob@example.com,Bob\n")
        layout = detect_layout(path)
        assert (layout.columns, layout.has_header, layout.header_row) == (("column 1", "column 2"), False, 0)
        assert rows_of(read_sample(path)) == [(1, first.split(",")), (2, ["bob@example.com", "Bob"])]

    def test_blank_rows_before_the_first_client_keep_the_row_numbers(self, tmp_path: Path) -> None:
        path = written(tmp_path, "sep=;\n\nann@example.com;Ann\nbob@example.com\n")
        assert rows_of(read_sample(path)) == [(3, ["ann@example.com", "Ann"]), (4, ["bob@example.com", ""])]

    def test_without_names_the_widest_row_counts(self, tmp_path: Path) -> None:
        path = written(tmp_path, "ann@example.com\nbob@example.com,Bob,Cork\n")
        assert detect_layout(path).columns == ("column 1", "column 2", "column 3")

    @pytest.mark.parametrize("header", ["Name,2026-11-23", "Name,2024", "Name,20.11.2026", "Name,1234567890"])
    def test_a_year_or_a_date_as_the_name_of_a_column_is_a_name(self, tmp_path: Path, header: str) -> None:
        assert detect_layout(written(tmp_path, f"{header}\nAnn,x\n")).columns == tuple(header.split(","))

    def test_a_person_has_the_last_word(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,name\na@example.com,Ann\n")
        layout = detect_layout(path, has_header=False)
        assert rows_of(read_sample(path, layout=layout))[0] == (1, ["email", "name"])
        path = written(tmp_path, "team@example.com,name\na@example.com,Ann\n")
        layout = detect_layout(path, has_header=True)
        assert layout.columns == ("team@example.com", "name")
        assert rows_of(read_sample(path, layout=layout)) == [(2, ["a@example.com", "Ann"])]

    def test_a_single_column_of_addresses_needs_no_name_that_is_known(self, tmp_path: Path) -> None:
        assert detect_layout(written(tmp_path, "Kontakte\na@example.com\n")).columns == ("Kontakte",)
        assert detect_layout(written(tmp_path, "a@example.com\nb@example.com\n")).columns == ("column 1",)

    def test_a_layout_survives_being_stored(self, tmp_path: Path) -> None:
        layout = detect_layout(written(tmp_path, "email;städte\na@example.com;x\n"))
        assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout


class TestWhatSpreadsheetProgramsLeave:
    def test_an_apostrophe_before_a_formula_start_is_taken_off(self, tmp_path: Path) -> None:
        path = written(
            tmp_path, "email,note\na@example.com,'=1+1\nb@example.com,'tis\nc@example.com,O'Neill\n"
        )
        assert read_sample(path).frame["note"].tolist() == ["=1+1", "'tis", "O'Neill"]

    def test_a_formula_stays_text(self, tmp_path: Path) -> None:
        path = written(tmp_path, 'email,name\na@example.com,"=HYPERLINK(""http://x"",""a"")"\n')
        assert read_sample(path).frame["name"].tolist() == ['=HYPERLINK("http://x","a")']

    def test_a_formula_without_a_result_is_read_as_empty_and_listed(self, tmp_path: Path) -> None:
        chunk = read_sample(written(tmp_path, "email,city\na@example.com,#N/A\nb@example.com,#1 Main St\n"))
        assert chunk.frame["city"].tolist() == ["", "#1 Main St"]
        assert [(w.row_number, w.column, w.value, w.reason) for w in chunk.warnings] == [
            (2, "city", "#N/A", Reason.FORMULA_ERROR)
        ]


class TestRows:
    def test_row_numbers_are_those_of_a_spreadsheet(self, tmp_path: Path) -> None:
        path = written(tmp_path, 'email,note\na@example.com,"two\nlines"\n\n,,\n  ,\nb@example.com,x\n')
        assert rows_of(read_sample(path)) == [
            (2, ["a@example.com", "two\nlines"]),
            (6, ["b@example.com", "x"]),
        ]

    def test_a_short_row_ends_in_empty_cells(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,city,note\na@example.com\n")
        assert rows_of(read_sample(path)) == [(2, ["a@example.com", "", ""])]

    def test_a_row_with_surplus_cells_is_rejected_by_its_number(self, tmp_path: Path) -> None:
        chunk = read_sample(written(tmp_path, "email,city\na@example.com,Cork,Ireland\nb@example.com,Cork\n"))
        assert [(r.row_number, r.reason, r.value) for r in chunk.rejects] == [
            (2, Reason.TOO_MANY_CELLS, "a@example.com,Cork,Ireland")
        ]
        assert [number for number, _ in rows_of(chunk)] == [3]

    def test_empty_surplus_cells_do_no_harm(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,city\na@example.com,Cork,, \n")
        assert rows_of(read_sample(path)) == [(2, ["a@example.com", "Cork"])]

    @pytest.mark.parametrize("stray", ['"never closed', '"closed" too early, "and again'])
    def test_a_stray_quote_costs_its_own_row_only(self, tmp_path: Path, stray: str) -> None:
        after = "".join(f'{i}@example.com,"ok"\n' for i in range(3, 9))
        chunk = read_sample(written(tmp_path, f"email,note\n2@example.com,{stray}\n{after}"))
        assert [cells[0] for _, cells in rows_of(chunk)] == [f"{i}@example.com" for i in range(3, 9)]
        assert [reject.row_number for reject in chunk.rejects] == [2]

    def test_a_quote_that_is_never_closed_in_a_long_file_loses_nothing_after_it(self, tmp_path: Path) -> None:
        after = "".join(f"{i}@example.com,fine and well\n" for i in range(3, 9_003))
        chunk = read_sample(written(tmp_path, f'email,note\n2@example.com,"open\n{after}'), rows=20_000)
        assert [(r.row_number, r.reason) for r in chunk.rejects] == [(2, Reason.UNCLOSED_QUOTE)]
        assert len(chunk.frame) == 9_000

    def test_a_quote_in_the_middle_of_a_cell_is_part_of_it(self, tmp_path: Path) -> None:
        path = written(tmp_path, 'email,note\na@example.com,a 5" pipe\nb@example.com,"a "short" word"\n')
        assert next(cells[1] for _, cells in rows_of(read_sample(path))) == 'a 5" pipe'
        assert count_rows(path) == 2

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    def test_line_endings_of_all_systems(self, tmp_path: Path, ending: str) -> None:
        path = written(tmp_path, ending.join(["email,city", "a@example.com,Cork", "b@example.com,Sligo"]))
        assert [number for number, _ in rows_of(read_sample(path))] == [2, 3]

    def test_a_cell_that_looks_like_a_missing_value_stays_text(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,last_name\na@example.com,Null\nb@example.com,NA\n")
        assert read_sample(path).frame["last_name"].tolist() == ["Null", "NA"]


class TestChunks:
    def test_chunks_are_cut_at_the_same_rows_and_count_the_rejected_ones(self, tmp_path: Path) -> None:
        lines = [f"{i}@example.com,x" + (",surplus" if i % 3 == 0 else "") for i in range(10)]
        path = written(tmp_path, "email,city\n" + "\n".join(lines))
        chunks = list(read_chunks(path, chunk_rows=4))
        assert [(c.first_row, c.row_count) for c in chunks] == [(0, 4), (4, 4), (8, 2)]
        assert all(len(c.frame) + len(c.rejects) == c.row_count for c in chunks)
        assert count_rows(path) == 10

    def test_a_stray_nul_does_not_make_a_file_binary(self, tmp_path: Path) -> None:
        assert len(read_sample(written(tmp_path, b"email,city\na@example.com,Co\x00rk\n")).frame) == 1

    def test_a_header_alone_has_no_chunks(self, tmp_path: Path) -> None:
        path = written(tmp_path, "email,city\n")
        assert list(read_chunks(path, chunk_rows=10)) == []
        assert read_sample(path).frame.columns.tolist() == ["email", "city"]


cells = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff", include_characters="\n\t\x07"
    ),
    max_size=12,
)


# Letters of Western languages. "Ã©" may be two letters of Windows-1252 or an é of UTF-8, and nobody can tell.
WESTERN = st.text(
    st.sampled_from(string.printable[:-5] + "\n" + "".join(map(chr, range(0xC0, 0x100)))), max_size=12
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@given(data=st.data())
def test_whatever_a_csv_writer_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, data: st.DataObject
) -> None:
    """Any delimiter, any way of quoting, either line ending: the names in the header are all it takes."""
    written_cells = WESTERN if encoding == "cp1252" else cells
    rows = data.draw(st.lists(st.lists(written_cells.map(_begun), min_size=3, max_size=3), max_size=12))
    path = tmp_path_factory.mktemp("csv") / "file.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(
            file,
            delimiter=data.draw(st.sampled_from(",;\t|")),
            quoting=data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])),
            lineterminator=data.draw(st.sampled_from(["\n", "\r\n"])),
        )
        writer.writerow(["email", "first name", "last name"])
        writer.writerows(rows)
    chunk = read_sample(path, layout=detect_layout(path))
    assert rows_of(chunk) == [
        (n, [meant(cell) for cell in row]) for n, row in enumerate(rows, start=2) if "".join(row).strip()
    ]
    assert chunk.rejects == ()


def _begun(cell: str) -> str:
    """Blanks at the beginning of a cell count as part of it in quotes only; no field of a client begins with any."""
    return cell.lstrip(" ")


def meant(cell: str) -> str:
    return "" if is_error(cell) else restored(cell)


lines = st.lists(st.text('ab",\n', max_size=15), max_size=15)


@given(lines, st.integers(1, 5))
def test_however_broken_a_file_is_each_row_is_kept_or_rejected_once(
    tmp_path_factory: pytest.TempPathFactory, broken: list[str], chunk_rows: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "file.csv"
    path.write_text("email,name\n" + "\n".join(broken) + "\nlast@example.com,Last", encoding="utf-8")
    chunks = list(read_chunks(path, chunk_rows=chunk_rows))
    numbers = [n for c in chunks for n in (*c.frame.index, *(r.row_number for r in c.rejects))]
    assert len(set(numbers)) == len(numbers) == sum(c.row_count for c in chunks) == count_rows(path)
    # The last line has no quote of its own, so that whatever stands before it cannot swallow it.
    assert chunks[-1].frame["email"].iloc[-1] == "last@example.com"
