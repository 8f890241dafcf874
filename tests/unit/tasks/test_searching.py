"""What a search box is given."""

import pytest

from tasks.searching import Search, SearchKind, read_search


@pytest.mark.parametrize(
    ("text", "region", "expected"),
    [
        (" Ann@X ", "IE", Search(SearchKind.EMAIL, "ann@x")),
        ("Ann  Byrne", "IE", Search(SearchKind.NAME, "Ann Byrne")),
        ("+353 (0)", "IE", Search(SearchKind.PHONE, "+3530")),
        ("+353 87", "US", Search(SearchKind.PHONE, "+35387")),
        ("00353-87", "IE", Search(SearchKind.PHONE, "+35387")),
        ("087 12", "IE", Search(SearchKind.PHONE, "+3538712")),
        ("(415) 293", "US", Search(SearchKind.PHONE, "+1415293")),
        ("06 12", "HU", Search(SearchKind.PHONE, "+3612")),
        ("12", "IE", Search(SearchKind.NAME, "12")),
        ("3M Ireland", "IE", Search(SearchKind.NAME, "3M Ireland")),
    ],
)
def test_it_is_told_by_its_looks(text: str, region: str, expected: Search) -> None:
    assert read_search(text, region=region) == expected
