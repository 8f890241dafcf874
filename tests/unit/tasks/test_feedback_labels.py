"""Who opened and clicked: told from a set of events, in whatever order they came."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.feedback.labels import Click, ScannerRule, is_scanner, label_clicks, label_open
from tasks.providers.events import EventKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULE = ScannerRule(links=3, window=timedelta(seconds=10))
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36"


def click(key: int, seconds: int, url: str, *, is_scanner: bool = False) -> Click[int]:
    return Click(key, NOON + timedelta(seconds=seconds), url, is_scanner)


def machines(clicks: list[Click[int]], *delivered: int) -> set[int]:
    labels = label_clicks(clicks, [NOON + timedelta(seconds=each) for each in delivered], RULE)
    assert labels.keys() == {each.key for each in clicks}
    return {key for key, kind in labels.items() if kind is EventKind.MACHINE_CLICK}


class TestLabelClicks:
    def test_many_links_within_seconds_of_delivery_are_a_scanner(self) -> None:
        burst = [click(1, 2, "/a"), click(2, 2, "/b"), click(3, 9, "/c")]
        assert machines([*burst, click(4, 600, "/a")], 0) == {1, 2, 3}

    def test_a_person_may_click_one_link_quickly_or_many_later(self) -> None:
        assert machines([click(1, 2, "/a"), click(2, 3, "/a"), click(3, 4, "/b")], 0) == set()
        assert machines([click(1, 60, "/a"), click(2, 61, "/b"), click(3, 62, "/c")], 0) == set()

    def test_clicks_that_are_reported_before_the_delivery_are_of_the_burst(self) -> None:
        assert machines([click(1, -1, "/a"), click(2, 0, "/b"), click(3, 1, "/c")], 0) == {1, 2, 3}

    def test_without_a_delivery_nobody_can_tell(self) -> None:
        assert machines([click(1, 0, "/a"), click(2, 0, "/b"), click(3, 0, "/c")]) == set()

    def test_the_first_delivery_counts(self) -> None:
        assert machines([click(1, 1, "/a"), click(2, 1, "/b"), click(3, 1, "/c")], 900, 0) == {1, 2, 3}
        assert machines([click(1, 901, "/a"), click(2, 901, "/b"), click(3, 901, "/c")], 900, 0) == set()

    def test_a_known_scanner_is_one_whenever_it_clicks(self) -> None:
        assert machines([click(1, 4000, "/a", is_scanner=True), click(2, 4000, "/a")], 0) == {1}

    @given(
        st.lists(st.tuples(st.integers(-5, 20), st.sampled_from("abcd"), st.booleans()), max_size=8),
        st.randoms(),
    )
    def test_the_order_does_not_matter(self, facts: list[tuple[int, str, bool]], chance: object) -> None:
        clicks = [click(key, at, url, is_scanner=scans) for key, (at, url, scans) in enumerate(facts)]
        before = machines(clicks, 0)
        chance.shuffle(clicks)  # type: ignore[attr-defined]
        assert machines(clicks, 0) == before


class TestLabelOpen:
    def test_sendgrid_says_so_or_the_program_is_a_scanner(self) -> None:
        assert label_open(EventKind.MACHINE_OPEN, {"useragent": CHROME}) is EventKind.MACHINE_OPEN
        assert label_open(EventKind.OPEN, {"useragent": "Barracuda Sentinel (EE)"}) is EventKind.MACHINE_OPEN
        assert label_open(EventKind.OPEN, {"useragent": CHROME}) is EventKind.OPEN
        assert label_open(EventKind.OPEN, {}) is EventKind.OPEN


@pytest.mark.parametrize(
    "agent",
    [
        CHROME,
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        "",
    ],
)
def test_people_and_the_proxies_that_open_for_them_are_no_scanners(agent: str) -> None:
    assert not is_scanner({"useragent": agent})


@pytest.mark.parametrize(
    "agent",
    [
        "python-requests/2.32",
        "Mimecast URL Protect",
        "Slackbot-LinkExpanding 1.0",
        "curl/8.5.0",
        "HeadlessChrome/120",
    ],
)
def test_programs_that_look_at_links_are_scanners(agent: str) -> None:
    assert is_scanner({"useragent": agent})


@pytest.mark.parametrize(
    "raw", [{}, {"useragent": None}, {"useragent": 7}, {"useragent": ["curl/8"]}, {"useragent": "x" * 10**6}]
)
def test_an_odd_user_agent_is_nobodys(raw: dict[str, object]) -> None:
    assert not is_scanner(raw)
