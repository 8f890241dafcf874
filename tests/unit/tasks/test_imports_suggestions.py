"""What columns seem to hold, where they are suggested to go, and how sure that is."""

import datetime
from typing import ClassVar

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.fields import FieldKind, FieldType
from tasks.imports.custom_columns import KnownField
from tasks.imports.profiles import ColumnKind, decimal_marks, is_date, is_number, profile_of
from tasks.imports.regions import date_order_in, decimal_in
from tasks.imports.rejects import Problem
from tasks.imports.suggestions import Suggested, suggest
from tasks.imports.targets import DateOrder, DecimalMark
from tasks.imports.values import read_date, read_number


def suggested(
    columns: dict[str, list[str]],
    *,
    region: str = "IE",
    fields: dict[str, KnownField] | None = None,
    is_workbook: bool = False,
) -> Suggested:
    length = max(map(len, columns.values()))
    frame = pd.DataFrame({n: c + [""] * (length - len(c)) for n, c in columns.items()}, dtype=object)
    return suggest(frame, default_region=region, fields=fields or {}, is_workbook=is_workbook)


def known(key: str, kind: FieldKind, label: str = "", *choices: str) -> dict[str, KnownField]:
    return {key: KnownField(FieldType(key, kind, choices), label)}


class TestProfiles:
    @pytest.mark.parametrize(
        ("cells", "kind"),
        [
            (["a@x.ie", "b@x.ie", "none"], ColumnKind.EMAIL),
            (["+353 87 123 4567", "(087) 123-4567"], ColumnKind.PHONE),
            (["0871234567", "087 123 4567"], ColumnKind.PHONE),
            (["23/11/2026", "1/2/2026"], ColumnKind.DATE),
            (["2026-11-23 10:15:00", "2026-01-02"], ColumnKind.DATE),
            (["23 Nov 2026", "1. März 2025", "May 5, 2024"], ColumnKind.DATE),
            (["31/31/2026", "32/01/2026", "1/2/2026"], ColumnKind.TEXT),
            (["1.234,50", "12", "-7"], ColumnKind.NUMBER),
            (["1 234", "1'234.5"], ColumnKind.NUMBER),
            (["007", "042"], ColumnKind.TEXT),
            (["12345678901234567", "2"], ColumnKind.TEXT),
            (["1", "0", "1"], ColumnKind.NUMBER),
            (["yes", "NO", "Yes"], ColumnKind.BOOLEAN),
            (["ja", "nein"], ColumnKind.BOOLEAN),
            (["S", "S", "S"], ColumnKind.CHOICE),
            (["Gold", "Silver", "Gold"] * 5, ColumnKind.CHOICE),
            (["Cork", "Galway", "Sligo"], ColumnKind.TEXT),
            (["23/11/2026", "11/23/2026"], ColumnKind.TEXT),
            (["1,5", "2.5"], ColumnKind.TEXT),
            (["", "  "], ColumnKind.EMPTY),
        ],
    )
    def test_kinds_are_told_by_the_cells(self, cells: list[str], kind: ColumnKind) -> None:
        assert profile_of(cells, region="IE").kind is kind

    def test_it_counts_what_fits_and_shows_different_samples(self) -> None:
        found = profile_of(
            ["a@x.ie", "a@x.ie", "", "bad", "x" * 200, "b@x.ie", "c@x.ie", "d@x.ie"], region="IE"
        )
        assert (found.kind, found.fits, found.filled) == (ColumnKind.EMAIL, 5, 7)
        assert found.samples == ("a@x.ie", "bad", "x" * 79 + "…", "b@x.ie", "c@x.ie")

    @pytest.mark.parametrize(
        ("cells", "order", "is_needed"),
        [
            (["01/02/2026", "23/11/2026"], DateOrder.DMY, True),
            (["01/02/2026", "11/23/2026"], DateOrder.MDY, True),
            (["01/02/2026", "03/04/2026"], None, True),
            (["01.01.2026", "2026-11-23"], None, False),
        ],
    )
    def test_a_day_above_12_decides_the_order_of_dates(
        self, cells: list[str], order: DateOrder | None, is_needed: bool
    ) -> None:
        found = profile_of(cells, region="IE")
        assert (found.date_order, found.has_ambiguous) == (order, is_needed)

    @pytest.mark.parametrize(
        ("cell", "marks"),
        [
            ("1.234,5", {DecimalMark.COMMA}),
            ("1,234.5", {DecimalMark.POINT}),
            ("1.5", {DecimalMark.POINT}),
            ("12,50", {DecimalMark.COMMA}),
            ("1.234.567", {DecimalMark.COMMA}),
            ("1,234,567", {DecimalMark.POINT}),
            ("0.125", {DecimalMark.POINT}),
            ("1234.567", {DecimalMark.POINT}),
            ("1.234", set()),
            ("1,234", set()),
            ("1234", set()),
            ("Cork, Ireland", set()),
        ],
    )
    def test_a_number_shows_its_decimal_mark_or_may_be_either(
        self, cell: str, marks: set[DecimalMark]
    ) -> None:
        assert decimal_marks([cell]) == marks

    digits = st.text("0123456789.,' -+/: ", max_size=14) | st.text("0123456789.,", max_size=8)

    @given(digits)
    def test_what_is_called_a_number_or_a_date_can_be_imported_as_one(self, cell: str) -> None:
        cell = cell.strip()
        if is_number(cell):
            assert not isinstance(read_number(cell, DecimalMark.POINT), Problem)
        if is_date(cell):
            assert any(not isinstance(read_date(cell, order), Problem) for order in DateOrder)

    @given(
        st.dates(datetime.date(1930, 1, 1)),
        st.sampled_from(["%d/%m/%Y", "%d.%m.%Y", "%d-%m-%y", "%Y-%m-%d", "%d/%m/%Y %H:%M"]),
    )
    def test_every_date_is_told(self, day: datetime.date, written: str) -> None:
        assert is_date(day.strftime(written))


class TestConfidence:
    def of(self, name: str, cells: list[str]) -> float:
        return suggested({name: cells}).suggestions[name].confidence

    def test_a_name_and_contents_that_agree_are_sure(self) -> None:
        assert self.of("E-Mail", ["a@x.ie", "b@x.ie"]) == 1.0

    def test_less_fits_less_sure(self) -> None:
        assert self.of("E-Mail", ["a@x.ie", "bad"]) == 0.75

    def test_contents_alone_are_less_sure_and_a_name_alone_too(self) -> None:
        assert self.of("Contact point", ["a@x.ie"]) == 0.8
        assert self.of("E-Mail", []) == 0.6
        assert self.of("Vorname", ["Ann"]) == 0.9

    def test_a_new_custom_field_is_a_guess(self) -> None:
        found = suggested({"Stadt": ["Cork"]}).suggestions["Stadt"]
        assert found.confidence < 0.6
        assert "new custom field" in found.reason

    @given(
        st.dictionaries(
            st.text(max_size=12), st.lists(st.text(max_size=12), max_size=4), min_size=1, max_size=5
        )
    )
    def test_each_column_has_one_and_a_reason(self, columns: dict[str, list[str]]) -> None:
        found = suggested(columns)
        assert [name for name, _ in found.mapping.targets] == list(columns)
        for name, target in found.mapping.targets:
            suggestion = found.suggestions[name]
            assert suggestion.target == target
            assert 0 <= suggestion.confidence <= 1
            assert suggestion.reason


class TestCustomFields:
    def targets(self, columns: dict[str, list[str]], fields: dict[str, KnownField]) -> list[str]:
        return [target for _, target in suggested(columns, fields=fields).mapping.targets]

    def test_one_that_exists_is_found_by_its_key_or_label_or_nearly(self) -> None:
        fields = known("city", FieldKind.TEXT, "Ort") | known("since", FieldKind.DATE, "Customer since")
        for name in ("City", "ORT", "citys"):
            assert self.targets({name: ["Cork"]}, fields) == ["custom.city"]
        assert self.targets({"customer_since": ["2026-11-23"]}, fields) == ["custom.since"]
        assert self.targets({"Country": ["Ireland"]}, fields) == ["custom.country"]

    def test_contents_that_do_not_fit_its_kind_make_it_another_field(self) -> None:
        fields = known("since", FieldKind.DATE)
        assert self.targets({"Since": ["long ago", "ages"]}, fields) == ["custom.since_2"]

    def test_a_choice_is_one_where_its_words_are_used(self) -> None:
        fields = known("level", FieldKind.CHOICE, "", "Gold", "Silver")
        assert self.targets({"Level": ["gold", "Silver"]}, fields) == ["custom.level"]
        assert self.targets({"Level": ["1st", "2nd"]}, fields) == ["custom.level_2"]

    def test_a_column_that_names_its_field_itself_goes_there(self) -> None:
        fields = known("size", FieldKind.NUMBER) | known("custom_size", FieldKind.TEXT)
        assert self.targets({"custom.size": ["large"], "custom.email": ["a@x.ie"]}, fields) == [
            "custom.size",
            "custom.email",
        ]

    def test_each_is_given_once_to_the_column_that_is_most_like_it(self) -> None:
        fields = known("city", FieldKind.TEXT)
        assert self.targets({"Citys": ["a"], "City": ["b"]}, fields) == ["custom.citys", "custom.city"]

    @pytest.mark.parametrize(
        ("name", "cells", "target"),
        [
            ("Spent", ["1.5", "2", "3"], "custom.spent:number"),
            ("Spent", ["1.5", "2", "n/a"], "custom.spent"),
            ("Spent", ["1.5"], "custom.spent"),
            ("Spent", [*["1.5"] * 9, "n/a"], "custom.spent"),
            ("Zip", ["12345", "23456", "34567"], "custom.zip"),
            ("Customer no.", ["1", "2", "3"], "custom.customer_no"),
            ("Born", ["1990-01-02", "1991-02-03", "1992-03-04"], "custom.born:date"),
            ("Seen", ["2026-01-02 10:00"] * 3, "custom.seen"),
            ("VIP", ["yes", "no", "yes"], "custom.vip:boolean"),
            ("Level", ["Gold", "Silver"] * 10, "custom.level"),
        ],
    )
    def test_a_new_one_has_a_kind_only_where_every_cell_is_of_it(
        self, name: str, cells: list[str], target: str
    ) -> None:
        assert self.targets({name: cells}, {}) == [target]


class TestWholeFile:
    DATES: ClassVar[dict[str, list[str]]] = {"Since": ["01/02/2026", "03/04/2026", "05/06/2026"]}
    NUMBERS: ClassVar[dict[str, list[str]]] = {"Spent": ["1.234", "2.345", "3.456"]}

    def test_dates_of_one_column_decide_for_the_others(self) -> None:
        found = suggested(self.DATES | {"Born": ["12/31/1990", "01/02/1991", "02/03/1992"]})
        assert (found.mapping.date_order, found.notes) == (DateOrder.MDY, ())

    @pytest.mark.parametrize(("region", "order"), [("IE", DateOrder.DMY), ("US", DateOrder.MDY)])
    def test_without_a_day_above_12_the_region_decides_and_a_note_says_so(
        self, region: str, order: DateOrder
    ) -> None:
        found = suggested(self.DATES, region=region)
        assert found.mapping.date_order is order
        assert len(found.notes) == 1

    @pytest.mark.parametrize(
        ("region", "is_workbook", "decimal"),
        [("DE", False, DecimalMark.COMMA), ("IE", False, DecimalMark.POINT), ("DE", True, DecimalMark.POINT)],
    )
    def test_thousands_or_fractions_are_told_by_the_region_or_the_workbook(
        self, region: str, is_workbook: bool, decimal: DecimalMark
    ) -> None:
        found = suggested(self.NUMBERS, region=region, is_workbook=is_workbook)
        assert found.mapping.decimal is decimal
        assert len(found.notes) == 1

    def test_nothing_is_said_where_nothing_is_in_doubt(self) -> None:
        found = suggested({"Born": ["1990-01-02"] * 3, "Spent": ["12", "13", "14"]})
        assert (found.mapping.date_order, found.mapping.decimal, found.notes) == (None, None, ())

    def test_regions_write_as_their_people_do(self) -> None:
        assert [date_order_in(r) for r in ("US", "GB", "PH")] == ["mdy", "dmy", "mdy"]
        assert [decimal_in(r) for r in ("US", "DE", "FR", "CH", "BR", "MX")] == [".", ",", ",", ".", ",", "."]

    def test_the_columns_of_a_file_of_rejects_are_left_alone(self) -> None:
        found = suggested({"Email": ["a@x.ie"], "ics_row": ["3"], "ics_message": ["no@x.ie"]})
        assert [target for _, target in found.mapping.targets] == ["email", "ignore", "ignore"]
