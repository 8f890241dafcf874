"""Mappings: what is suggested for the exports of well-known programs, and what is refused."""

import pandas as pd
import pytest

from db.errors import Invalid
from tasks.imports.headers import slug
from tasks.imports.mapping import (
    MAX_CUSTOM_COLUMNS,
    ColumnMapping,
    unique_keys,
    validate_mapping,
)
from tasks.imports.regions import suggest_region
from tasks.imports.suggestions import suggest_mapping
from tasks.imports.targets import Target


def suggested(columns: dict[str, str | list[str]], region: str = "IE") -> dict[str, str]:
    sample = pd.DataFrame({n: [v] if isinstance(v, str) else v for n, v in columns.items()}, dtype=object)
    return dict(suggest_mapping(sample, default_region=region).targets)


class TestSuggestions:
    def test_hubspot(self) -> None:
        columns: dict[str, str | list[str]] = {
            "Record ID": "51",
            "First Name": "Ann",
            "Last Name": "Lee",
            "Email": "a@example.com",
            "Phone Number": "+35318888888",
            "Mobile Phone Number": "+353871234567",
            "Time Zone": "europe_slash_dublin",
            "Unsubscribed from all email": "true",
            "Lead Status": "Open",
        }
        assert suggested(columns) == {
            "Record ID": "external_id",
            "First Name": "first_name",
            "Last Name": "last_name",
            "Email": "email",
            "Phone Number": "phone:2",
            "Mobile Phone Number": "phone",
            "Time Zone": "time_zone",
            "Unsubscribed from all email": "email_opt_out",
            "Lead Status": "custom.lead_status",
        }

    def test_salesforce(self) -> None:
        columns: dict[str, str | list[str]] = {
            "Contact ID": "003",
            "FirstName": "Ann",
            "LastName": "Lee",
            "MobilePhone": "+353871234567",
            "HasOptedOutOfEmail": "0",
            "Email": "a@example.com",
            "Account ID": "001",
        }
        assert list(suggested(columns).values()) == [
            "external_id",
            "first_name",
            "last_name",
            "phone",
            "email_opt_out",
            "email",
            "custom.account_id",
        ]

    def test_mailchimp_and_shopify(self) -> None:
        columns: dict[str, str | list[str]] = {
            "Email Address": "a@example.com",
            "TAGS": '"vip","new"',
            "Status": ["subscribed", "cleaned"],
            "Accepts SMS Marketing": ["yes", "no"],
        }
        columns["Email Address"] = ["a@example.com", "b@example.com"]
        columns["TAGS"] = ["vip", ""]
        assert list(suggested(columns).values()) == ["email", "tags", "email_consent", "sms_consent"]

    def test_google_and_outlook(self) -> None:
        columns: dict[str, str | list[str]] = {
            "Name": "Ann Lee",
            "E-mail 1 - Type": "Work",
            "E-mail 1 - Value": "a@example.com",
            "E-mail 2 Address": "b@example.com",
            "Phone 1 - Value": "+353871234567",
            "Business Fax": "+35318888888",
            "Group Membership": "Friends ::: * My Contacts",
        }
        assert list(suggested(columns).values()) == [
            "full_name",
            "custom.e_mail_1_type",
            "email",
            "email:2",
            "phone",
            "custom.business_fax",
            "tags",
        ]

    @pytest.mark.parametrize(
        ("columns", "targets"),
        [
            ("Vorname|Name|E-Mail-Adresse|Handynummer|Sprache", "first_name|last_name|email|phone|locale"),
            ("Prénom|Nom|Adresse e-mail|Téléphone portable", "first_name|last_name|email|phone"),
            ("Nombre|Apellidos|Correo electrónico|Teléfono móvil", "full_name|last_name|email|phone"),
        ],
    )
    def test_other_languages(self, columns: str, targets: str) -> None:
        assert list(suggested(dict.fromkeys(columns.split("|"), "")).values()) == targets.split("|")

    def test_contents_name_a_column_whose_name_says_nothing(self) -> None:
        found = suggested({"A": ["a@example.com", ""], "B": ["+353 87 123 4567", "+353871234568"]})
        assert found == {"A": "email", "B": "phone"}

    def test_contents_that_contradict_a_name_win(self) -> None:
        found = suggested({"email": ["yes", "no"], "login": ["a@example.com", "b@example.com"]})
        assert found == {"email": "email_consent", "login": "email"}

    def test_the_column_that_says_primary_is_preferred(self) -> None:
        found = suggested({"Work Email": "a@example.com", "Primary Email": "b@example.com"})
        assert found == {"Work Email": "email:2", "Primary Email": "email"}

    def test_a_nameless_empty_column_is_ignored_and_a_named_one_is_not(self) -> None:
        assert suggested({"email": "a@example.com", "column 2": "", "City": ""}) == {
            "email": "email",
            "column 2": "ignore",
            "City": "custom.city",
        }

    def test_a_suggestion_is_valid_and_custom_keys_are_distinct(self) -> None:
        columns: dict[str, str | list[str]] = {"email": "a@example.com", "id": "1", "Contact ID": "2"}
        columns |= {f"Straße {'!' * i}": "x" for i in range(1, 4)} | {"日本": "x", "本日": "y"}
        sample = pd.DataFrame({name: [value] for name, value in columns.items()})
        mapping = suggest_mapping(sample, default_region="IE")
        validate_mapping(mapping, list(columns))
        assert [key for _, key in mapping.custom_columns()] == [
            "contact_id",
            "strae",
            "strae_2",
            "strae_3",
            "field",
            "field_2",
        ]

    def test_of_too_many_columns_the_empty_ones_are_ignored_first(self) -> None:
        columns: dict[str, str | list[str]] = {"email": "a@example.com"}
        columns |= {f"Field {i}": "" if i < 10 else "x" for i in range(MAX_CUSTOM_COLUMNS + 10)}
        ignored = [name for name, target in suggested(columns).items() if target == Target.IGNORE]
        assert ignored == [f"Field {i}" for i in range(10)]


class TestRegions:
    @pytest.mark.parametrize(
        ("numbers", "default", "expected"),
        [
            (["(415) 293-3313", "1-365-756-9410 x4781", "262.397.7937"], "IE", "US"),
            (["(415) 293-3313", "087 123 4567", "086 123 4567"], "IE", "IE"),
            (["+1 415 293 3313", "+14152933314"], "IE", "IE"),
            (["4152933313", "4152933314"], "IE", "IE"),
            (["222-123-4567", "222-234-5678"], "MX", "MX"),
            ([], "IE", "IE"),
        ],
    )
    def test_only_the_north_american_way_of_writing_is_told_by_its_looks(
        self, numbers: list[str], default: str, expected: str
    ) -> None:
        assert suggest_region(numbers, default) == expected


class TestValidation:
    @pytest.mark.parametrize(
        ("columns", "says"),
        [
            ({"Emial": "email"}, "no column 'Emial'; did you mean 'Email'"),
            ({"Email": "emial"}, "column 'Email': 'emial' is no target; did you mean 'email'"),
            ({"Email": "custom.Last Order"}, "custom.email"),
            ({"Email": "email:0"}, "bad order"),
            ({"Email": "first_name:2"}, "bad order"),
            ({"City": "custom.city"}, "no column is mapped to email or phone"),
            ({"Email": "email", "City": "tags", "Town": "tags"}, "'City' and 'Town' are both mapped to tags"),
            ({"Email": "email", "City": "custom.a", "Town": "custom.a"}, "both mapped to custom.a"),
        ],
    )
    def test_errors_name_the_column_and_what_would_be_right(self, columns: dict[str, str], says: str) -> None:
        with pytest.raises(Invalid, match=says) as caught:
            validate_mapping(ColumnMapping.from_json(columns), ["Email", "City", "Town"])
        assert caught.value.field == "mapping"

    def test_an_unknown_region_is_refused(self) -> None:
        mapping = ColumnMapping((("Email", "email"),), "XX")
        with pytest.raises(Invalid, match="IE or US"):
            validate_mapping(mapping, ["Email"])

    @pytest.mark.parametrize("document", [[], "email", {"Email": 1}, {"columns": {"Email": ["email"]}}, None])
    def test_json_of_another_shape_is_refused(self, document: object) -> None:
        with pytest.raises(Invalid, match="must be an object"):
            ColumnMapping.from_json(document)


def test_a_mapping_survives_json_in_both_its_forms() -> None:
    mapping = ColumnMapping((("Work", "email:2"), ("Home", "email"), ("City", "custom.city")), "US")
    assert ColumnMapping.from_json(mapping.to_json()) == mapping
    assert ColumnMapping.from_json(dict(mapping.targets)).targets == mapping.targets
    assert mapping.columns_of(Target.EMAIL) == ["Home", "Work"]


def test_keys_are_distinct_however_long_the_names() -> None:
    keys = unique_keys([f"{'x' * 70}{i}" for i in range(12)])
    assert len(set(keys.values())) == 12
    assert all(len(key) <= 64 for key in keys.values())
    assert slug("E-Mail_Adresse (privat)") == "e_mail_adresse_privat"
