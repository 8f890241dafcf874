"""The CSV of rejected rows: what goes out guarded comes back as it was."""

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.imports.artefacts import is_error
from tasks.imports.layout import detect_layout
from tasks.imports.reading import read_sample
from tasks.imports.reject_columns import ADDED_COLUMNS, SURPLUS_COLUMN, header, row
from tasks.imports.rejects import Reason
from tasks.spreadsheets import csv_lines, defused, restored

FORMULAS = st.text("'=+-@ \t\r\nab1", max_size=8)


@given(FORMULAS | st.text())
def test_a_defused_cell_comes_back_as_it_was(cell: str) -> None:
    assert restored(defused(cell)) == cell


@given(FORMULAS | st.text())
def test_a_cell_that_no_formula_starts_is_left_alone(cell: str) -> None:
    assume(not cell.lstrip("' ").startswith(tuple("=+-@\t\r\n＝＋－＠")))
    assert defused(cell) == restored(cell) == cell


cells = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff", include_characters="\n\t=+-@'"
    ),
    max_size=10,
).map(lambda cell: cell.lstrip(" "))


@given(st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6), st.booleans())
def test_rejected_rows_come_back_cell_by_cell(
    tmp_path_factory: pytest.TempPathFactory, rejected: list[list[str]], is_second_time: bool
) -> None:
    columns = ["Email", "=1+1", "Name (2)", *(ADDED_COLUMNS if is_second_time else ())]
    rows = [[*each, *["old"] * (len(columns) - 4), ""][: len(columns)] for each in rejected]
    path = written(tmp_path_factory.mktemp("rejects"), columns, rows)
    layout = detect_layout(path)
    chunk = read_sample(path, layout=layout)
    assert layout.columns == ("Email", "=1+1", "Name (2)", *ADDED_COLUMNS)
    assert chunk.frame.iloc[:, :3].to_numpy().tolist() == [
        ["" if is_error(cell) else cell for cell in each[:3]] for each in rows
    ]
    assert chunk.frame["ics_row"].tolist() == [str(n) for n in range(2, len(rows) + 2)]


@pytest.mark.parametrize(
    ("cells", "reason", "surplus"),
    [
        (["a@x.ie", "Ann", "Cork", "Ireland", "", "x"], Reason.TOO_MANY_CELLS, "Ireland | x"),
        (['a@x.ie,"open'], Reason.UNCLOSED_QUOTE, 'a@x.ie,"open'),
    ],
)
def test_what_has_no_column_is_kept_and_rejected_till_somebody_has_looked(
    tmp_path: Path, cells: list[str], reason: Reason, surplus: str
) -> None:
    columns = ["Email", "Name", "City"]
    path = written(tmp_path, columns, [cells], reason)
    chunk = read_sample(path)
    assert len(chunk.frame) == 0
    found = chunk.rejects[0]
    assert (found.reason, found.column, found.value) == (Reason.TOO_MANY_CELLS, SURPLUS_COLUMN, surplus)
    path.write_text(path.read_text(encoding="utf-8-sig").replace(f"{surplus}\n", "\n"), encoding="utf-8")
    assert read_sample(path).rejects == () or '"' in surplus


def written(
    folder: Path, columns: list[str], rows: list[list[str]], reason: str = Reason.INVALID_EMAIL
) -> Path:
    rejected = [
        row(columns, cells, row_number=number, column="Email", reason=reason, message="no")
        for number, cells in enumerate(rows, start=2)
    ]
    path = folder / "rejects.csv"
    path.write_text(csv_lines([header(columns), *rejected]), encoding="utf-8-sig", newline="")
    return path
