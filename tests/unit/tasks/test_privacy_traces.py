"""Where an address is recognised, and where only one that looks like it."""

import orjson
import pytest

from db.states import Channel
from tasks.feedback.sources import Source
from tasks.privacy.redaction import RawWebhook, without
from tasks.privacy.traces import traces_of

TRACES = traces_of({Channel.EMAIL: ["ann@x.ie", "josé@x.ie"], Channel.SMS: ["+353871112233"]})


@pytest.mark.parametrize(
    "text",
    [
        "ann@x.ie",
        "<ANN@X.IE>: unknown",
        "to ann@x.ie.",
        "https://x.example/?m=ann%40x.ie&a=1",
        '{"email":"jos\\u00e9@x.ie"}',
        "josé@x.ie",
        "mobilenumber=353871112233&x=1",
        "%2B353871112233",
        "00353871112233",
    ],
)
def test_an_address_is_found_however_it_is_written(text: str) -> None:
    assert TRACES.are_in(text)
    # What the database looks for finds it too.
    assert any(each in text.lower() for each in TRACES.texts)


@pytest.mark.parametrize(
    "text",
    ["joann@x.ie", "ann@x.ie.example", "ann@x.iex", "b+ann@x.ie", "1353871112233", "3538711122334", ""],
)
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert not TRACES.are_in(text)


@pytest.mark.parametrize(
    "cell", ["087 111 2233", "(087) 111-2233", "+353 (0)87 111 2233", "871112233", "ann@x.ie"]
)
def test_a_cell_names_a_phone_as_people_type_it(cell: str) -> None:
    assert TRACES.are_in_cell(cell)


@pytest.mark.parametrize("cell", ["187 111 2233", "087 111 22334", "Ann"])
def test_other_numbers_are_none_of_theirs(cell: str) -> None:
    assert not TRACES.are_in_cell(cell)


def test_nobody_leaves_no_trace() -> None:
    nobody = traces_of({})
    assert (nobody.texts, nobody.digits) == ([], [])
    assert not nobody.are_in_cell("ann@x.ie 0871112233")


def test_a_webhook_loses_the_events_it_has_to_and_no_other() -> None:
    raw = RawWebhook(b'[{"a":1},\r\n{"b":2},\r\n{"c":3}]\r\n', "")
    assert orjson.loads(without(Source.SENDGRID, raw, [1]).body) == [{"a": 1}, {"c": 3}]
    assert without(Source.SENDGRID, raw, []) == raw
    assert without(Source.SENDGRID, RawWebhook(b"nonsense", ""), [0]) == RawWebhook(b"[]", "")
    assert without(Source.SENDMODE_REPLY, RawWebhook(b"x", "y=1"), [0]) == RawWebhook(b"", "")
