"""Rows as clients. Where there is a library to ask, its word is compared with ours."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType

from db.states import Consent
from tasks.addresses import AddressInvalid, normalise_email, normalise_phone
from tasks.imports.cleaning import CleanedChunk, clean_chunk
from tasks.imports.consents import read_consent, read_opt_out
from tasks.imports.duplicates import merge_duplicates
from tasks.imports.emails import read_email
from tasks.imports.full_names import split_name
from tasks.imports.mapping import ColumnMapping, validate_mapping
from tasks.imports.numbering import is_valid
from tasks.imports.phones import Phone, read_phone
from tasks.imports.reading import read_sample
from tasks.imports.rejects import Problem, Reason
from tasks.imports.suggestions import suggest_mapping
from tasks.imports.texts import clean_text, read_locale, read_tags, read_time_zone

CRM = Path(__file__).parents[4] / "shared" / "data" / "crm-contacts.csv"


def cleaned(
    columns: Mapping[str, Sequence[str] | str], targets: Mapping[str, str] | None = None, region: str = "IE"
) -> CleanedChunk:
    """The columns' cells under a mapping; by default each column is named after its target."""
    cells = {name: [given] if isinstance(given, str) else list(given) for name, given in columns.items()}
    length = len(next(iter(cells.values())))
    frame = pd.DataFrame(cells, index=pd.RangeIndex(2, 2 + length), dtype=object)
    mapping = ColumnMapping.from_json(dict(targets or {name: name for name in columns}))
    return clean_chunk(frame, mapping, default_region=region)


def row(**columns: str) -> dict[str, Any]:
    found = cleaned({"email": "a@example.com", **columns})
    assert found.rejects == []
    return found.rows[0]


# Emails

ordinary = st.from_regex(r"[A-Za-z0-9._%+-]{1,70}@[A-Za-z0-9.-]{1,70}\.[A-Za-z]{2,8}", fullmatch=True)
LOCAL_PARTS = ("a", "Info", "a.b", "a..b", ".a", "x_-", "O'Neil", "é", "+", "a" * 64, "a" * 65)
DOMAINS = (
    *(
        "test",
        "a.test",
        "x.local",
        "LOCALHOST",
        "a.Invalid",
        "x.onion",
        "1.arpa",
        "a--b.ie",
        "xn--a.ie",
        "bücher.de",
    ),
    *("ex_ample.com", "-a.com", "a-.com", "a.c", "a.c0m", "1.1.1.1", "a." * 40 + "com", "b" * 63 + ".com"),
    *("b" * 64 + ".com", ".".join(["c" * 60] * 4) + ".com", "a..com", ".com", "com"),
)


def library_email(text: str) -> str | None:
    try:
        return normalise_email(text)
    except AddressInvalid:
        return None


def our_email(text: str) -> str | None:
    found = read_email(text)
    return None if isinstance(found, Problem) else found


@st.composite
def almost_emails(draw: st.DrawFn) -> str:
    """A common address in which one or two characters are others, or are there twice, or not at all."""
    text = draw(
        st.sampled_from(["Ann.Lee@mail.example.com", "o-neil_1+x@a-b.co.uk", "a@" + "b" * 55 + ".museum"])
    )
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.integers(0, len(text) - 1))
        text = (
            text[:place]
            + draw(st.sampled_from(["", ".", "-", "_", "@", "é", "1", " ", "'", "--", "..", "\t"]))
            + text[place + 1 :]
        )
    return text


class TestEmails:
    @given(ordinary | st.emails() | st.text(max_size=30))
    def test_the_verdict_is_always_the_librarys(self, text: str) -> None:
        assert our_email(text.strip()) == library_email(text.strip())

    def test_so_it_is_at_the_edges_of_its_rules(self) -> None:
        edges = [f"{local}@{domain}" for local in LOCAL_PARTS for domain in DOMAINS]
        assert [our_email(text) for text in edges] == [library_email(text) for text in edges]

    @given(almost_emails())
    def test_so_it_is_one_character_away_from_what_is_common(self, text: str) -> None:
        assert our_email(text) == library_email(text)

    def test_is_stored_in_lower_case_and_identifies(self) -> None:
        found = cleaned({"email": "  Aoife.Byrne@Example.COM\u200b "}).rows[0]
        assert found["email"] == found["identity_key"] == "aoife.byrne@example.com"

    def test_the_first_valid_one_is_taken_and_another_is_kept_beside_it(self) -> None:
        found = cleaned(
            {"Home": "b@example.com", "Work": "not an email", "Other": "c@example.com"},
            {"Home": "email:2", "Work": "email", "Other": "email:3"},
        )
        assert found.rows[0]["email"] == "b@example.com"
        assert found.rows[0]["custom_fields"] == {"other": "c@example.com"}
        assert [(w.column, w.value, w.reason) for w in found.warnings] == [
            ("Work", "not an email", Reason.INVALID_EMAIL)
        ]


# Phones

number_text = st.one_of(
    st.from_regex(r"\+?[0-9]{3,15}", fullmatch=True),
    st.from_regex(
        r"(\+353|00353|0|\+49|\+39|\+44|\+1|\+55|\+52 1|\+54 9)[ -]?[0-9]{1,4}([ -][0-9]{2,5}){1,3}",
        fullmatch=True,
    ),
    st.from_regex(r"0[0-9]{1,3}[ -]?[0-9]{3}[ -]?[0-9]{3,5}( x[0-9]{1,4})?", fullmatch=True),
    st.text("0123456789+- ()./x", max_size=20),
)
regions = st.sampled_from(["IE", "DE", "GB", "US", "IT", "BR", "MX", "AR", "FR", "AU", "JE"])
KINDS = (PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE, PhoneNumberType.TOLL_FREE)
FORMS = (PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL, PhoneNumberFormat.NATIONAL)


def numbers_of(region: str) -> Iterator[str]:
    """Numbers of a region as they are written, also with what may or may not stand behind a country code."""
    for kind in KINDS:
        number = phonenumbers.example_number_for_type(region, kind)
        if number is None:
            continue
        yield from (phonenumbers.format_number(number, form) for form in FORMS)
        national = phonenumbers.national_significant_number(number)
        yield from (
            f"+{number.country_code}{prefix}{national}" for prefix in ("0", "1", "8", "9", "15", "00")
        )
        yield from (f"{prefix}{national}" for prefix in ("0", "00", "01"))
        yield from (f"+{number.country_code}{national[:-1]}", f"+{number.country_code}{national}0")


def verdict(text: str, region: str) -> str | None:
    try:
        return normalise_phone(text, region)
    except AddressInvalid:
        return None


def ours(text: str, region: str) -> str | None:
    found = read_phone(text, region)
    return found.e164 if isinstance(found, Phone) else None


def _examples(region: str) -> list[PhoneNumber]:
    found = (
        phonenumbers.example_number_for_type(region, kind) for kind in range(PhoneNumberType.VOICEMAIL + 1)
    )
    return [number for number in found if number is not None]


EXAMPLES = {region: _examples(region) for region in sorted(phonenumbers.SUPPORTED_REGIONS)}
PREFIXES = ("", "0", "1", "8", "9", "00", "011", "+", "+0", "(0)")


@st.composite
def almost_numbers(draw: st.DrawFn) -> tuple[str, str]:
    """A number of some kind and country in some form, a few digits of it changed, and the region to read it in."""
    origin = draw(st.sampled_from(sorted(EXAMPLES)))
    number = draw(st.sampled_from(EXAMPLES[origin]))
    text = draw(
        st.sampled_from([phonenumbers.format_number(number, form) for form in FORMS])
        | st.sampled_from(PREFIXES).map(lambda p: p + phonenumbers.national_significant_number(number))
        | st.sampled_from(PREFIXES).map(
            lambda p: f"{p}{number.country_code}{phonenumbers.national_significant_number(number)}"
        )
    )
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = (
            text[:place]
            + draw(st.sampled_from([*"0123456789", *" .-()", ""]))
            + text[place + draw(st.integers(0, 1)) :]
        )
    return text.strip(), draw(st.sampled_from([origin, "IE", "US", "GB", "DE"]))


class TestPhones:
    @given(number_text, regions)
    def test_the_verdict_is_always_the_librarys(self, text: str, region: str) -> None:
        assert ours(text.strip(), region) == verdict(text.strip(), region)

    @pytest.mark.parametrize("default", ["own", "IE", "US"])
    def test_so_it_is_for_the_numbers_of_every_country(self, default: str) -> None:
        for region in sorted(phonenumbers.SUPPORTED_REGIONS):
            read_in = region if default == "own" else default
            texts = list(numbers_of(region))
            assert [ours(t, read_in) for t in texts] == [verdict(t, read_in) for t in texts]

    @given(almost_numbers())
    def test_so_it_is_a_digit_or_two_away_from_any_kind_of_number(self, written: tuple[str, str]) -> None:
        text, region = written
        assert ours(text, region) == verdict(text, region)

    @given(almost_numbers())
    def test_the_compiled_patterns_know_the_numbers_that_the_library_knows(
        self, written: tuple[str, str]
    ) -> None:
        digits = "".join(c for c in written[0] if c.isdigit()).lstrip("0")[:15]
        for code in (EXAMPLES[written[1]][0].country_code, 1, 39, 44, 800):
            national = digits.removeprefix(str(code)) or "1"
            if national[0] != "0":
                number = PhoneNumber(country_code=code, national_number=int(national))
                assert is_valid(str(code), national) == phonenumbers.is_valid_number(number)

    @pytest.mark.parametrize(
        ("text", "region"),
        # A zero behind the international prefix, of which 0 is one in Cape Verde; no number, a country code alone.
        [
            ("00601546012345", "CV"),
            ("+0353871234567", "IE"),
            ("00", "IE"),
            ("+353", "IE"),
            ("(", "IE"),
            ("0", "DE"),
        ],
    )
    def test_so_it_is_at_the_edges_of_prefixes(self, text: str, region: str) -> None:
        assert ours(text, region) == verdict(text, region)

    @pytest.mark.parametrize(
        ("text", "e164"),
        [
            ("087 123 4567", "+353871234567"),
            ("+353 (0)87 123 4567", "+353871234567"),
            ("00353871234567", "+353871234567"),
            ('="0871234567"', "+353871234567"),
            ("'0871234567", "+353871234567"),
            ("+1 415 293 3313", "+14152933313"),
        ],
    )
    def test_forms_that_files_have(self, text: str, e164: str) -> None:
        assert read_phone(text, "IE") == Phone(e164)

    @pytest.mark.parametrize(
        ("text", "region", "says"),
        [
            ("087", "IE", "too short for a number of IE"),
            ("0871234567890123", "IE", "too long for a number of IE"),
            ("1-955-371-0847 x371", "US", "no such number in US"),
            ("3.53871E+11", "IE", "spreadsheet"),
            ("ask Mary", "IE", "no phone number"),
        ],
    )
    def test_the_message_says_what_is_wrong(self, text: str, region: str, says: str) -> None:
        found = read_phone(text, region)
        assert isinstance(found, Problem)
        assert says in found.message

    def test_the_region_of_the_mapping_reads_national_forms(self) -> None:
        frame = pd.DataFrame({"Phone": ["(415) 293-3313"]}, index=[2])
        mapping = ColumnMapping((("Phone", "phone"),), "US")
        assert clean_chunk(frame, mapping, default_region="IE").rows[0]["phone"] == "+14152933313"

    def test_a_number_without_extension_is_preferred(self) -> None:
        found = cleaned(
            {"email": "a@example.com", "Work": "01 888 8888 x12", "Mobile": "0871234567"},
            {"email": "email", "Work": "phone", "Mobile": "phone:2"},
        )
        assert found.rows[0]["phone"] == "+353871234567"
        assert found.rows[0]["custom_fields"] == {"work": "+35318888888;ext=12"}
        assert found.warnings == []

    def test_a_switchboards_number_is_kept_with_a_warning(self) -> None:
        found = cleaned({"email": "a@example.com", "phone": "01 888 8888 x12"})
        assert found.rows[0]["phone"] == "+35318888888"
        assert found.rows[0]["custom_fields"] == {"phone_extension": "12"}
        assert [w.reason for w in found.warnings] == [Reason.PHONE_EXTENSION]

    def test_a_switchboards_number_identifies_nobody(self) -> None:
        found = cleaned({"email": ["", ""], "phone": ["01 888 8888 x12", "01 888 8888 x13"]})
        assert found.rows == []
        assert [(r.row_number, r.reason) for r in found.rejects] == [
            (2, Reason.PHONE_EXTENSION),
            (3, Reason.PHONE_EXTENSION),
        ]


class TestIdentity:
    def test_a_phone_identifies_who_has_no_email(self) -> None:
        found = cleaned({"email": "nobody", "phone": "0871234567"})
        assert found.rows[0]["identity_key"] == "+353871234567"
        assert found.rows[0]["email"] is None
        assert [w.reason for w in found.warnings] == [Reason.INVALID_EMAIL]

    def test_a_row_that_nothing_identifies_is_rejected_once_with_its_first_fault(self) -> None:
        found = cleaned({"email": ["nobody", ""], "phone": ["087", ""], "time_zone": ["Mars", ""]})
        assert [(r.row_number, r.column, r.reason) for r in found.rejects] == [
            (2, "email", Reason.INVALID_EMAIL),
            (3, "", Reason.NO_ADDRESS),
        ]
        assert found.warnings == []

    def test_a_reported_value_is_shortened(self) -> None:
        assert len(cleaned({"email": "x" * 500}).rejects[0].value) == 80


class TestFields:
    def test_text_is_kept_without_what_nobody_sees(self) -> None:
        found = row(first_name=" \x00Ao\x07ife\u202e ", last_name="=HYPERLINK(1)", external_id="007")
        assert (found["first_name"], found["last_name"], found["external_id"]) == (
            "Aoife",
            "=HYPERLINK(1)",
            "007",
        )

    def test_an_emoji_of_several_parts_stays_whole(self) -> None:
        assert clean_text(" 👩‍👩‍👧\ufeff") == "👩‍👩‍👧"

    @pytest.mark.parametrize(
        ("target", "value", "reason"),
        [
            ("first_name", "x" * 101, Reason.TOO_LONG),
            ("external_id", "x" * 101, Reason.TOO_LONG),
            ("custom.note", "x" * 1001, Reason.TOO_LONG),
            ("last_name", "Ren\ufffd", Reason.BROKEN_TEXT),
            ("time_zone", "Europe/Cork", Reason.INVALID_TIME_ZONE),
            ("locale", "English", Reason.INVALID_LOCALE),
            ("email_consent", "perhaps", Reason.INVALID_CONSENT),
            ("tags", "x" * 51, Reason.INVALID_TAG),
            ("tags", ",".join(map(str, range(51))), Reason.INVALID_TAG),
            ("phone", "12", Reason.INVALID_PHONE),
        ],
    )
    def test_a_cell_that_cannot_be_kept_costs_itself_only(
        self, target: str, value: str, reason: Reason
    ) -> None:
        found = cleaned({"email": "a@example.com", "Column": value}, {"email": "email", "Column": target})
        assert [(w.row_number, w.column, w.reason) for w in found.warnings] == [(2, "Column", reason)]
        assert found.rows[0]["email"] == "a@example.com"
        assert value not in (*found.rows[0].values(), *found.rows[0]["custom_fields"].values())

    def test_custom_fields_keep_their_lines(self) -> None:
        found = cleaned({"email": "a@example.com", "N": "one\r\ntwo"}, {"email": "email", "N": "custom.note"})
        assert found.rows[0]["custom_fields"] == {"note": "one\ntwo"}

    def test_tags_are_split_and_distinct(self) -> None:
        assert read_tags(' vip, "new";vip | a b ,,x') == (["vip", "new", "a b", "x"], None)

    @pytest.mark.parametrize(
        ("text", "locale"), [("en_ie", "en-IE"), ("DE", "de"), ("zh-hans-cn", "zh-Hans-CN")]
    )
    def test_locales_get_their_usual_case(self, text: str, locale: str) -> None:
        assert read_locale(text) == locale

    def test_time_zones_are_found_in_any_case(self) -> None:
        assert read_time_zone("europe/dublin") == "Europe/Dublin"

    def test_a_full_name_fills_only_what_is_empty(self) -> None:
        columns = {"email": ["a@example.com", "b@example.com"], "first_name": ["Ann", ""]}
        found = cleaned({**columns, "full_name": ["Mary Byrne", "Dr. Mary Byrne"]})
        names = [(r.get("first_name"), r.get("last_name")) for r in found.rows]
        assert names == [("Ann", None), ("Mary", "Byrne")]

    @pytest.mark.parametrize(
        ("name", "parts"),
        [
            ("Aoife Byrne", ("Aoife", "Byrne")),
            ("Byrne, Aoife", ("Aoife", "Byrne")),
            ("Martin King, Jr.", ("Martin", "King, Jr.")),
            ("Prof. Dr. Ada van den Berg", ("Ada", "van den Berg")),
            ("Madonna", ("Madonna", "")),
            ("Miss", ("Miss", "")),
        ],
    )
    def test_names_are_split(self, name: str, parts: tuple[str, str]) -> None:
        assert split_name(name) == parts


class TestConsents:
    @pytest.mark.parametrize(
        ("words", "consent"),
        [
            ("true|YES|1|oui|Ja|sí|opt-in|opted_in|Subscribed|abonné", Consent.GRANTED),
            ("false|No|0|non|nein|opted out|unsubscribed|Désabonné|cleaned", Consent.DENIED),
            ("|n/a|-|unknown|pending|non-subscribed", Consent.UNKNOWN),
        ],
    )
    def test_words_of_several_languages(self, words: str, consent: Consent) -> None:
        assert {read_consent(word) for word in words.split("|")} == {consent}

    def test_an_opt_out_denies_and_its_absence_grants_nothing(self) -> None:
        assert read_opt_out("true") is Consent.DENIED
        assert read_opt_out("unsubscribed") is Consent.DENIED
        assert read_opt_out("false") is Consent.UNKNOWN
        assert read_opt_out("maybe") is None

    @pytest.mark.parametrize(("consent", "opt_out"), [("yes", "yes"), ("no", "no")])
    def test_of_two_columns_the_denial_counts(self, consent: str, opt_out: str) -> None:
        assert row(email_consent=consent, email_opt_out=opt_out)["email_consent"] is Consent.DENIED

    def test_channels_are_apart(self) -> None:
        found = row(email_consent="yes", sms_opt_out="1")
        assert (found["email_consent"], found["sms_consent"]) == (Consent.GRANTED, Consent.DENIED)


class TestDuplicates:
    def test_later_values_win_and_empty_ones_do_not(self) -> None:
        found = cleaned(
            {
                "email": ["a@example.com", "b@example.com", "A@example.com"],
                "first_name": ["Ann", "Bob", "Anne"],
                "last_name": ["Lee", "Ray", ""],
                "tags": ["x", "", "y,x"],
                "email_consent": ["no", "yes", "yes"],
                "N": ["1", "", ""],
                "M": ["", "", "2"],
            },
            {n: n for n in ("email", "first_name", "last_name", "tags", "email_consent")}
            | {"N": "custom.n", "M": "custom.m"},
        )
        merged = merge_duplicates(found.rows)
        assert [r["identity_key"] for r in merged.rows] == ["a@example.com", "b@example.com"]
        first = merged.rows[0]
        assert (first["row_number"], first["first_name"], first["last_name"]) == (2, "Anne", "Lee")
        assert (first["tags"], first["custom_fields"]) == (["x", "y"], {"n": "1", "m": "2"})
        assert first["email_consent"] is Consent.DENIED
        assert [(w.row_number, w.reason) for w in merged.warnings] == [(4, Reason.DUPLICATE_IN_FILE)]


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20)), max_size=8))
def test_every_row_is_kept_or_rejected_exactly_once(rows: list[tuple[str, str, str]]) -> None:
    columns = {name: [r[i] for r in rows] or [""] for i, name in enumerate(("email", "phone", "tags"))}
    found = cleaned(columns)
    numbers = [r["row_number"] for r in found.rows] + [r.row_number for r in found.rejects]
    assert sorted(numbers) == list(range(2, 2 + len(columns["email"])))
    assert {w.row_number for w in found.warnings} <= {r["row_number"] for r in found.rows}


@pytest.mark.skipif(not CRM.exists(), reason="the example file is not on this machine")
@pytest.mark.parametrize("region", ["US", "IE", "GB"])
def test_the_libraries_words_count_for_each_address_of_a_real_export(region: str) -> None:
    frame = read_sample(CRM).frame
    phones = [cell for name in frame.columns if name.startswith("phone") for cell in frame[name] if cell]
    emails = [cell for name in frame.columns if name.startswith("email") for cell in frame[name] if cell]
    assert [ours(cell, region) for cell in phones] == [verdict(cell, region) for cell in phones]
    assert [our_email(cell) for cell in emails] == [library_email(cell) for cell in emails]


@pytest.mark.skipif(not CRM.exists(), reason="the example file is not on this machine")
def test_a_real_export_keeps_every_number_that_is_one() -> None:
    sample = read_sample(CRM)
    mapping = suggest_mapping(sample.frame, default_region="IE")
    validate_mapping(mapping, [str(name) for name in sample.frame.columns])
    found = clean_chunk(sample.frame, mapping, default_region="IE")
    assert mapping.default_region == "US"
    assert (len(found.rows), found.rejects) == (500, [])
    texts = [c for n in ("phone_work", "phone_home", "phone_other") for c in sample.frame[n] if c]
    invalid = [text for text in texts if verdict(text, "US") is None]
    assert sum(w.reason is Reason.INVALID_PHONE for w in found.warnings) == len(invalid)
    valid_rows = sample.frame[["phone_work", "phone_home", "phone_other"]].map(lambda c: verdict(c, "US"))
    assert sum(r["phone"] is not None for r in found.rows) == int(valid_rows.notna().any(axis=1).sum())
