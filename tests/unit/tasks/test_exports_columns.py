"""Which columns an export has, and what stands in their cells."""

import pytest

from db.errors import Invalid
from tasks.exports.columns import IMPORTABLE, Columns, choose_columns
from tasks.imports.headers import is_custom, slug, target_of_header


def test_an_import_knows_every_header_by_itself() -> None:
    assert [target_of_header(name) for name in IMPORTABLE] == list(IMPORTABLE)
    assert is_custom("custom.phone")
    assert slug("custom.phone") == "phone"


def test_without_a_wish_there_is_all_that_can_be_imported_again() -> None:
    assert choose_columns(None, ["city"]).names == (*IMPORTABLE, "custom.city")


def test_fields_come_before_custom_ones_and_each_is_read_once() -> None:
    columns = choose_columns(["custom.b", "email", "custom.a"], ["a", "b"])
    assert columns.names == ("email", "custom.b", "custom.a")
    assert columns.fields == ["email", "custom_fields"]
    assert choose_columns(["email"], ["a"]).fields == ["email"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["mail"], "no column 'mail'; did you mean 'email'?"),
        (["custom.citi"], "did you mean 'custom.city'?"),
        (["city"], "did you mean 'custom.city'?"),
        (["email", "email"], "each once"),
        ([], "at least one"),
        (["\ud800"], "no column '?'"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_the_nearest(asked: list[str], words: str) -> None:
    with pytest.raises(Invalid) as refused:
        choose_columns(asked, ["city"])
    assert refused.value.field == "columns"
    assert words in refused.value.message


def test_cells_are_text_or_numbers() -> None:
    names = ("tags", "created_at", *(f"custom.{key}" for key in ("t", "n", "f", "yes", "no", "none", "gone")))
    custom = {"t": "x", "n": -3, "f": 1.5, "yes": True, "no": False, "none": None}
    row = [7, ["a", "b"], "2026-11-23 08:51:25.000000", custom]
    assert Columns(names).reader()(row) == [
        "a, b",
        "2026-11-23T08:51:25Z",
        "x",
        -3,
        1.5,
        "true",
        "false",
        "",
        "",
    ]
