"""Sendmode's dialects: what each takes, and what it refuses."""

from typing import Any

import pytest

from sandbox.sendmode_messages import DIALECTS, Sms, read_sms
from sandbox.sms_parts import count_parts

V1, REST2, REST3 = (DIALECTS[path] for path in ("/v1/messages", "/v2/send", "/3.0/send"))
GOOD = {"sender": "TheShop", "to": "+353861234567", "text": "Hi", "reference": "k3f9a0b1c2d4-1"}


def test_every_dialect_says_the_same_in_its_own_words() -> None:
    expected = Sms(("+353861234567",), "Hi", "TheShop", "k3f9a0b1c2d4-1")
    rest2 = {
        "messagetext": "Hi",
        "recipients": ["353861234567"],
        "senderid": "TheShop",
        "customerid": "k3f9a0b1c2d4-1",
    }
    rest3 = {
        "message": "Hi",
        "mobile_number": "+353861234567",
        "sender_id": "TheShop",
        "customer_id": "k3f9a0b1c2d4-1",
    }
    assert read_sms(V1, GOOD) == expected
    assert read_sms(REST2, rest2) == expected
    assert read_sms(REST3, rest3) == expected


def test_rest2_takes_several_recipients() -> None:
    sms = read_sms(REST2, {"messagetext": "Hi", "recipients": ["353861234567", "+353861234568"]})
    assert isinstance(sms, Sms)
    assert sms.to == ("+353861234567", "+353861234568")


def test_sender_and_reference_may_be_left_out() -> None:
    assert read_sms(V1, {"to": "+353861234567", "text": "Hi"}) == Sms(("+353861234567",), "Hi", "", "")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"to": None}, "number"), ({"to": "086"}, "number"), ({"to": 353861234567}, "number"), ({"to": "+0861234567"}, "number"),
        ({"to": "+353861234567\n"}, "number"), ({"text": ""}, "empty"), ({"text": " \n"}, "empty"), ({"text": 5}, "empty"),
        ({"text": "x" * 1531}, "longer"), ({"sender": "TwelveLetter"}, "sender"), ({"sender": "1" * 16}, "sender"),
        ({"sender": "Café"}, "sender"), ({"sender": 5}, "sender"), ({"reference": 5}, "reference"),
        ({"reference": "x" * 101}, "reference"),
    ],
)  # fmt: skip
def test_a_bad_value_is_named(change: dict[str, Any], word: str) -> None:
    problem = read_sms(V1, GOOD | change)
    assert isinstance(problem, str)
    assert word in problem


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_what_is_no_object_is_refused(body: Any) -> None:
    assert isinstance(read_sms(V1, body), str)


@pytest.mark.parametrize("recipients", [None, [], "353861234567", ["353861234567", 5]])
def test_rest2_wants_a_list_of_numbers(recipients: Any) -> None:
    assert isinstance(read_sms(REST2, {"messagetext": "Hi", "recipients": recipients}), str)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x" * 160, 1), ("x" * 161, 2), ("x" * 306, 2), ("x" * 307, 3), ("€" * 80, 1), ("€" * 81, 2), ("€" * 76 * 2, 2),
        ("€" * 153, 3), ("é" * 160, 1), ("á" * 70, 1), ("á" * 71, 2), ("á" * 134, 2), ("á" * 135, 3), ("😀" * 35, 1),
        ("😀" * 36, 2), ("😀" * 67, 3), ("’", 1), ("\t" * 71, 2),
    ],
)  # fmt: skip
def test_parts(text: str, parts: int) -> None:
    assert count_parts(text) == parts
