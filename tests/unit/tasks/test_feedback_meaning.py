"""What bounces and drops say about an address."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import SuppressionReason
from tasks.feedback.meaning import is_soft, wish_of
from tasks.feedback.suppressing import too_many
from tasks.providers.events import EventKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MONTH = timedelta(days=30)


@pytest.mark.parametrize(
    ("kind", "word", "reason"),
    [
        (EventKind.BOUNCE, "invalid_address", SuppressionReason.BOUNCE),
        (EventKind.BOUNCE, "technical", SuppressionReason.BOUNCE),
        (EventKind.BOUNCE, "unclassified", SuppressionReason.BOUNCE),
        (EventKind.BLOCKED, "invalid_address", SuppressionReason.BOUNCE),
        (EventKind.BLOCKED, "mailbox_unavailable", None),
        (EventKind.BLOCKED, "reputation", None),
        (EventKind.DROPPED, "bounced_address", SuppressionReason.BOUNCE),
        (EventKind.DROPPED, "invalid", SuppressionReason.BOUNCE),
        (EventKind.DROPPED, "unsubscribed_address", SuppressionReason.UNSUBSCRIBE),
        (EventKind.DROPPED, "spam_reporting_address", SuppressionReason.SPAM_REPORT),
        (EventKind.DROPPED, "spam_content", None),
        (EventKind.DROPPED, "over_quota", None),
        (EventKind.DEFERRED, None, None),
        (EventKind.SPAM_REPORT, None, SuppressionReason.SPAM_REPORT),
    ],
)
def test_the_class_decides(kind: EventKind, word: str | None, reason: SuppressionReason | None) -> None:
    wish = wish_of(kind, word)
    assert (wish.reason if wish else None) is reason


def test_only_what_the_owner_says_is_their_word() -> None:
    said = {kind for kind in EventKind if (wish := wish_of(kind, "unsubscribed_address")) and wish.is_said}
    assert EventKind.DROPPED not in said
    assert EventKind.BOUNCE not in said
    assert {EventKind.UNSUBSCRIBE, EventKind.SPAM_REPORT, EventKind.OPT_OUT, EventKind.OPT_IN} <= said


def test_a_soft_bounce_is_a_block_that_says_nothing_about_the_address() -> None:
    assert is_soft(EventKind.BLOCKED, "reputation")
    assert not is_soft(EventKind.BLOCKED, "invalid_address")
    assert not is_soft(EventKind.BOUNCE, "reputation")


def after(days: Iterable[float]) -> list[tuple[datetime, int]]:
    return [(NOON + timedelta(days=each), message) for message, each in enumerate(days)]


class TestTooMany:
    def test_so_many_within_the_window_are_too_many(self) -> None:
        assert too_many(after([0, 10, 29]), 3, MONTH) == NOON + timedelta(days=29)
        assert too_many(after([0, 10, 31]), 3, MONTH) is None
        assert too_many(after([0, 31, 40, 45]), 3, MONTH) == NOON + timedelta(days=45)

    def test_one_message_counts_once_however_often_it_bounces(self) -> None:
        assert too_many([(NOON + timedelta(hours=each), 7) for each in range(9)], 2, MONTH) is None

    @given(
        st.lists(st.tuples(st.integers(0, 90), st.integers(0, 6)), max_size=12),
        st.tuples(st.integers(0, 90), st.integers(0, 6)),
    )
    def test_another_one_never_makes_it_earlier(
        self, facts: list[tuple[int, int]], more: tuple[int, int]
    ) -> None:
        def moments(some: list[tuple[int, int]]) -> list[tuple[datetime, int]]:
            return [(NOON + timedelta(days=day), message) for day, message in some]

        before, now = too_many(moments(facts), 3, MONTH), too_many(moments([*facts, more]), 3, MONTH)
        assert before is None or (now is not None and now >= before)
