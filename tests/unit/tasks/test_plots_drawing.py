"""Pictures: the formats they say, the same bytes for the same curves, and no trust in names."""

import struct
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tasks.plots.curves import curves_of
from tasks.plots.drawing import Format, draw

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
CURVES = curves_of(
    {(START + timedelta(minutes=each), kind): each + 1 for each in range(30) for kind in ("accepted", "open")}
)


def test_a_png_has_the_size_it_should() -> None:
    picture = draw(CURVES, "Spring", Format.PNG)
    assert picture.startswith(b"\x89PNG\r\n")
    assert struct.unpack(">II", picture[16:24]) == (900, 640)
    assert struct.unpack(">II", draw(CURVES, "Spring", Format.PNG, scale=0.5)[16:24]) == (450, 320)


@pytest.mark.parametrize("kind", list(Format))
def test_the_same_curves_give_the_same_bytes(kind: Format) -> None:
    assert draw(CURVES, "Spring", kind) == draw(CURVES, "Spring", kind)


def test_an_svg_names_its_curves_and_is_well_formed() -> None:
    texts = texts_of(draw(CURVES, "Spring", Format.SVG))
    assert {"Spring", "sent", "opens", "UTC", "per minute"} <= texts


def test_a_blast_of_a_single_minute_can_be_seen() -> None:
    minute = curves_of({(START, "accepted"): 3})
    texts = Counter(all_texts_of(draw(minute, "Short", Format.SVG)))
    assert texts["09:00"]
    # Its axis is that minute; and of messages there are no halves, which would be shown as "0" or "1" once more.
    assert [texts[number] for number in "0123"] == [3, 3, 2, 2]
    assert draw(minute, "Short", Format.PNG) != draw(
        curves_of({(START, "accepted"): 300}), "Short", Format.PNG
    )


@pytest.mark.parametrize(
    ("days", "words"), [(0, "per minute"), (1, "per 10 minutes"), (9, "per hour"), (50, "per 6 hours")]
)
def test_the_steps_are_said_in_words(days: int, words: str) -> None:
    long = curves_of({(START, "accepted"): 1, (START + timedelta(days=days), "open"): 1})
    assert words in texts_of(draw(long, "Long", Format.SVG))


def test_nothing_sent_yet_is_a_picture_too() -> None:
    assert "nothing was sent yet" in texts_of(draw(curves_of({}), "Spring", Format.SVG))


@pytest.mark.parametrize(
    "title", ["<script>alert(1)</script>", r"$\frac{1}{0}$ & $x", "a$b", "\\", "x" * 500, "Frühling 🌷", ""]
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_a_name_is_a_name_whatever_is_in_it(title: str) -> None:
    picture = draw(CURVES, title, Format.SVG)
    assert b"<script" not in picture
    ET.fromstring(picture)
    assert draw(CURVES, title, Format.PNG)


def texts_of(picture: bytes) -> set[str]:
    return set(all_texts_of(picture))


def all_texts_of(picture: bytes) -> list[str]:
    return [
        "".join(each.itertext()) for each in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    ]
