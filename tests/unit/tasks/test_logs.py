"""What is cleaned out of log lines, and what is left for whoever reads them at night."""

import pytest

from tasks.logs import clean


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("no ada@example.com here", "no <address> here"),
        ("<Ada.Lovelace+x@mail.example.com>", "<<address>>"),
        ("call +353871234567 now", "call <number> now"),
        ("token ics_" + "aB3-_" * 9, "token <key>"),
        ("key SG.abcdefgh.ijklmnop", "key <key>"),
        ("mysql+pymysql://ics:swordfish@db:3306/ics", "mysql+pymysql://<address>:3306/ics"),
        (
            "(1062, \"Duplicate entry 'Ada' for key 'email'\")",
            "(1062, \"Duplicate entry '...' for key 'email'\")",
        ),
        (
            "Incorrect string value: 'Ada' for column `x`.`y` at row 1",
            "Incorrect string value: '...' for column `x`.`y` at row 1",
        ),
        ("[type=x, input_value='Ada', input_type=str]", "[type=x, input_value=..., input_type=str]"),
    ],
)
def test_values_are_taken_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "execution 12 of 345678901234 has 3 batches",
        "INSERT INTO ics_automation_member_import_changes (client_id) SELECT id FROM ics_automation_clients",
        "Prefect cannot be reached at http://127.0.0.1:4200/api/: ConnectError",
        "2026-11-23T13:05:09.273281Z",
        "5b1c7f0e-5b1c-4f0e-9b1c-7f0e5b1c7f0e",
    ],
)
def test_what_names_nobody_stays(text: str) -> None:
    assert clean(text) == text


def test_no_line_grows_without_limit() -> None:
    assert len(clean("x" * 100_000)) == 2000
