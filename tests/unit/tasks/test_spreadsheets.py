"""CSV for spreadsheet programs."""

import csv
import io

import pytest

from tasks.spreadsheets import csv_lines, defused


@pytest.mark.parametrize(
    "cell",
    [
        "=1+1",
        "+353871234567",
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


@pytest.mark.parametrize("cell", ["", "jose@x.ie", "a=b", "O'Neill", "1-2"])
def test_other_cells_stay_as_they_are(cell: str) -> None:
    assert defused(cell) == cell


def test_lines_can_be_read_back() -> None:
    rows = [(7, "a,b", 'say "x"', "two\nlines", "josé"), (8, "", "=1", "", "")]
    read = list(csv.reader(io.StringIO(csv_lines(rows), newline="")))
    assert read == [["7", "a,b", 'say "x"', "two\nlines", "josé"], ["8", "", "'=1", "", ""]]
