"""Cells as values of typed fields: what people and programs write, and what is nothing of the kind."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.fields import FieldKind, FieldType, check_value
from tasks.imports.rejects import Problem, Reason
from tasks.imports.targets import DateOrder, DecimalMark
from tasks.imports.values import read_boolean, read_date, read_number, reader_of

POINT, COMMA = DecimalMark.POINT, DecimalMark.COMMA
DMY, MDY = DateOrder.DMY, DateOrder.MDY


class TestNumbers:
    @pytest.mark.parametrize(
        ("text", "number"),
        [
            ("1234", 1234),
            ("-1.5", -1.5),
            ("\u22125", -5),
            ("1.234,50", 1234.5),
            ("1,234.50", 1234.5),
            ("1.234.567", 1234567),
            ("1 234,5", 1234.5),
            ("1\u202f234", 1234),
            ("1'234.5", 1234.5),
            ("€5", 5),
            ("5 EUR", 5),
            ("USD 1,234,567", 1234567),
            ("-$5", -5),
            ("(5)", -5),
            ("12%", 12),
            ("0,125", 0.125),
            (".5", 0.5),
            ("5.00", 5),
            ("1e3", 1000),
        ],
    )
    def test_what_can_be_read_in_one_way_is_read_so_in_both(self, text: str, number: float) -> None:
        assert [read_number(text, mark) for mark in (POINT, COMMA)] == [number, number]

    @pytest.mark.parametrize(("text", "point", "comma"), [("1.234", 1.234, 1234), ("1,234", 1234, 1.234)])
    def test_the_decimal_mark_decides_what_could_be_thousands(
        self, text: str, point: float, comma: float
    ) -> None:
        assert (read_number(text, POINT), read_number(text, COMMA)) == (point, comma)

    @pytest.mark.parametrize(
        "text", ["many", "1,23,456", "1.2.3", "12abc", "1 23", "5-", "--5", "1e999", "9" * 17, "1/2", "+"]
    )
    def test_what_is_no_number_says_what_is(self, text: str) -> None:
        found = read_number(text, POINT)
        assert isinstance(found, Problem)
        assert found.reason is Reason.INVALID_NUMBER
        assert "1,234.50" in found.message

    @given(st.integers(-(2**53), 2**53), st.sampled_from([POINT, COMMA]))
    def test_whole_numbers_are_read_with_and_without_thousands(self, number: int, mark: DecimalMark) -> None:
        thousands = "." if mark is COMMA else ","
        assert read_number(str(number), mark) == number
        assert read_number(f"{number:,}".replace(",", thousands), mark) == number

    @given(st.decimals(-(10**9), 10**9, places=2), st.sampled_from([POINT, COMMA]))
    def test_fractions_are_read_in_both_ways_of_writing(self, number: float, mark: DecimalMark) -> None:
        american = f"{number:,.2f}"
        european = american.translate(str.maketrans(",.", ".,"))
        assert read_number(american, mark) == read_number(european, mark) == float(number)

    @given(st.text("0123456789.,-()€% eE'", max_size=14), st.sampled_from([POINT, COMMA]))
    def test_whatever_is_read_can_be_stored(self, text: str, mark: DecimalMark) -> None:
        found = read_number(text, mark)
        if not isinstance(found, Problem):
            assert check_value(FieldType("n", FieldKind.NUMBER), found) == found


class TestDates:
    @pytest.mark.parametrize(
        "text",
        [
            *("2026-11-23", "2026/11/23", "2026.11.23", "20261123", "23.11.2026", "23/11/2026", "11/23/2026"),
            *("23 Nov 2026", "Nov 23, 2026", "23. November 2026", "23-Nov-26", "November 23rd, 2026"),
            *("23 de noviembre de 2026", "23 novembre 2026", "2026-Nov-23", "23.11.26", "46349", "46349.75"),
            *("2026-11-23T08:00:00Z", "2026-11-23 08:00", "11/23/2026 5:00 PM", "23.11.2026, 17:30 Uhr"),
            *("2026-11-23T23:59:59.999-05:00", "23/11/2026 8 pm"),
        ],
    )
    @pytest.mark.parametrize("order", [DMY, MDY])
    def test_what_can_be_read_in_one_way_is_read_so_in_both(self, text: str, order: DateOrder) -> None:
        assert read_date(text, order) == "2026-11-23"

    def test_the_order_decides_the_others(self) -> None:
        assert (read_date("03/04/2026", DMY), read_date("03/04/2026", MDY)) == ("2026-04-03", "2026-03-04")

    @pytest.mark.parametrize(
        ("text", "year"), [("1/1/00", 2000), ("1/1/29", 2029), ("1/1/30", 1930), ("1/1/99", 1999)]
    )
    def test_short_years_are_those_of_spreadsheet_programs(self, text: str, year: int) -> None:
        assert read_date(text, DMY) == f"{year}-01-01"

    @pytest.mark.parametrize(
        "text",
        [
            "tomorrow",
            "2026",
            "12",
            "2026-02-30",
            "31/02/2026",
            "0000-01-01",
            "99.99.2020",
            "23 Foo 2026",
            "2026-11",
            "1/2",
        ],
    )
    def test_what_is_no_date_says_what_is(self, text: str) -> None:
        found = read_date(text, DMY)
        assert isinstance(found, Problem)
        assert found.reason is Reason.INVALID_DATE
        assert "2026-11-23" in found.message

    @given(st.dates(date(1000, 1, 1)), st.sampled_from([DMY, MDY]), st.sampled_from("./- "))
    def test_every_day_is_read_back(self, day: date, order: DateOrder, mark: str) -> None:
        parts = (day.day, day.month) if order is DMY else (day.month, day.day)
        iso = day.isoformat()
        assert read_date(iso, order) == iso
        assert read_date(f"{parts[0]:02}{mark}{parts[1]:02}{mark}{day.year}", order) == iso
        assert read_date(f"{day.day} {day:%b} {day.year}", order) == iso

    @given(st.text("0123456789./- :TNov", max_size=12))
    def test_whatever_is_read_can_be_stored(self, text: str) -> None:
        found = read_date(text, DMY)
        if not isinstance(found, Problem):
            assert check_value(FieldType("d", FieldKind.DATE), found) == found


class TestOthers:
    @pytest.mark.parametrize(
        ("text", "value"), [("yes", True), ("WAHR", True), ("x", True), ("non", False), ("0", False)]
    )
    def test_yes_and_no_in_several_languages(self, text: str, value: bool) -> None:
        assert read_boolean(text) is value

    def test_a_word_that_says_neither_is_none(self) -> None:
        assert isinstance(read_boolean("perhaps"), Problem)

    def test_choices_are_found_in_any_case_and_get_their_own_spelling(self) -> None:
        read = reader_of(FieldType("plan", FieldKind.CHOICE, ("Pro Max", "basic")))
        assert [read(text) for text in ("pro  max", "BASIC", "basic")] == ["Pro Max", "basic", "basic"]
        found = read("gold")
        assert isinstance(found, Problem)
        assert "Pro Max, basic" in found.message
