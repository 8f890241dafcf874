"""Updates are known by what is in them; tickets by who signed them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.live.tickets import Ticket, read_ticket, write_ticket
from tasks.live.updates import Update

KEY = b"key"


def test_the_same_content_has_the_same_id_and_other_content_another() -> None:
    assert Update.of({"a": 1}).id == Update.of({"a": 1}).id
    assert Update.of({"a": 1}).id != Update.of({"a": 2}).id


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50), max_size=5))
def test_an_event_is_three_lines_and_an_empty_one(picture: dict[str, str]) -> None:
    lines = Update.of(picture).server_sent.split(b"\n")
    assert [line.partition(b":")[0] for line in lines] == [b"id", b"event", b"data", b"", b""]


def test_a_ticket_is_read_as_it_was_written_until_its_time_is_over() -> None:
    ticket = Ticket(7, 3, 1000)
    text = write_ticket(KEY, ticket)
    assert read_ticket(KEY, text, now=1000.0) == ticket
    assert read_ticket(KEY, text, now=1000.5) is None
    assert read_ticket(b"other", text, now=0) is None


@given(st.text(max_size=60))
def test_nothing_else_is_a_ticket(text: str) -> None:
    assert read_ticket(KEY, text, now=0) is None


@pytest.mark.parametrize("changed", ["8-3-1000", "7-4-1000", "7-3-9000"])
def test_a_ticket_cannot_be_changed(changed: str) -> None:
    _, _, signature = write_ticket(KEY, Ticket(7, 3, 1000)).rpartition(".")
    assert read_ticket(KEY, f"{changed}.{signature}", now=0) is None
