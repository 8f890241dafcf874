"""CSV for spreadsheet programs."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.spreadsheets import csv_lines, defused


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+1+cmd|x!A0",
        "+12345678901234567",
        "-2",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "  =1",
        '=HYPERLINK("https://x.example")',
        "\uff1d1",
    ],
)
def test_a_cell_that_begins_like_a_formula_becomes_text(cell: str) -> None:
    assert defused(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "+353871234567", "jose@x.ie", "a=b", "O'Neill", "1-2"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert defused(cell) == cell


def test_lines_can_be_read_back() -> None:
    rows = [(7, "a,b", 'say "x"', "two\nlines", "josé"), (8, "", "=1", "", "")]
    read = list(csv.reader(io.StringIO(csv_lines(rows), newline="")))
    assert read == [["7", "a,b", 'say "x"', "two\nlines", "josé"], ["8", "", "'=1", "", ""]]


@given(st.text(alphabet="'= +-@\tax1\uff1d"), st.text(alphabet="'= +-@\tax1\uff1d"))
def test_what_was_defused_can_be_told_from_what_was_so_before(one: str, other: str) -> None:
    assert one == other or defused(one) != defused(other)
