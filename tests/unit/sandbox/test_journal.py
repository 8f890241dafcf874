"""The journal keeps what it is told, and the outbox what is not acknowledged."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.faults import Fault, Kind, Switches
from sandbox.journal import Accepted, Journal, Parcel
from sandbox.recent import RecentMessages

UID = "k3f9a0b1c2d4"


def entry(number: int, uid: str = UID, provider: str = "sendgrid", parts: int = 0) -> Accepted:
    return Accepted(
        1.5, provider, "request", f"{uid}-{number}", f"c{number}@example.com", "Hello", "digest", parts
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sandbox" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path)
    yield opened
    opened.close()


class TestJournal:
    def test_counts_and_finds_what_was_accepted_twice(self, journal: Journal) -> None:
        journal.accept(
            [entry(1), entry(2), entry(3, uid="other"), entry(4, provider="sendmode", parts=2)], []
        )
        journal.accept([entry(2)], [])
        assert journal.counts(UID) == {
            "accepted": 4,
            "distinct": 3,
            "duplicates": 1,
            "parts": 2,
            "providers": {"sendgrid": 3, "sendmode": 1},
        }
        assert journal.counts(None)["accepted"] == 5
        assert journal.duplicates(UID, 10) == {f"{UID}-2": 2}
        assert journal.duplicates("other", 10) == {}

    def test_is_read_in_pages(self, journal: Journal) -> None:
        journal.accept([entry(number) for number in range(5)], [])
        first = journal.entries(UID, 0, 3)
        rest = journal.entries(UID, first[-1]["id"], 3)
        assert [row["reference"] for row in first + rest] == [f"{UID}-{number}" for number in range(5)]

    @pytest.mark.parametrize("statement", ["UPDATE accepted SET address = 'x'", "DELETE FROM accepted"])
    def test_cannot_be_changed(self, journal: Journal, path: Path, statement: str) -> None:
        journal.accept([entry(1)], [])
        other = sqlite3.connect(path)
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        other.close()

    def test_a_failed_write_leaves_nothing_behind(self, journal: Journal) -> None:
        broken = Parcel(0, None, 1, b"")  # type: ignore[arg-type]
        with pytest.raises(sqlite3.IntegrityError):
            journal.accept([entry(1)], [broken])
        assert journal.counts(None)["accepted"] == 0
        journal.accept([entry(1)], [])
        assert journal.counts(None)["accepted"] == 1


class TestOutbox:
    def test_hands_out_what_is_due_until_it_is_posted(self, journal: Journal) -> None:
        journal.accept(
            [], [Parcel(5, "a", 10, b"late"), Parcel(1, "a", 20, b"early"), Parcel(1, "b", 1, b"other")]
        )
        assert [parcel.payload for parcel in journal.due("a", 4, 10)] == [b"early"]
        waiting = journal.due("a", 5, 10)
        assert [parcel.payload for parcel in waiting] == [b"early", b"late"]
        assert journal.outbox_counts() == {"pending": 31, "posted": 0}
        journal.posted(waiting[:1])
        assert journal.outbox_counts() == {"pending": 11, "posted": 20}

    def test_postpones_what_was_refused(self, journal: Journal) -> None:
        journal.accept([], [Parcel(1, "a", 1, b"x")])
        journal.postpone(journal.due("a", 1, 10), 9)
        assert journal.due("a", 8, 10) == []
        assert [parcel.attempts for parcel in journal.due("a", 9, 10)] == [1]

    def test_outlives_its_process(self, journal: Journal, path: Path) -> None:
        journal.accept([entry(1)], [Parcel(1, "a", 1, b"x")])
        again = Journal(path)
        assert [parcel.payload for parcel in again.due("a", 1, 10)] == [b"x"]
        assert again.counts(UID)["accepted"] == 1
        again.close()


class TestSwitches:
    def test_a_fault_is_used_up(self) -> None:
        switches = Switches(1)
        switches.add(Fault("sendgrid", Kind.HANG, count=2))
        assert switches.take("sendmode") is None
        kinds = [fault.kind if (fault := switches.take("sendgrid")) else None for _ in range(3)]
        assert kinds == [Kind.HANG, Kind.HANG, None]
        assert switches.fired == {"sendgrid:hang": 2}
        assert switches.waiting() == []

    def test_probability_spreads_it_over_the_requests(self) -> None:
        switches = Switches(1)
        switches.add(Fault("sendgrid", Kind.TOO_MANY, count=1000, probability=0.1))
        fired = sum(switches.take("sendgrid") is not None for _ in range(1000))
        assert 60 < fired < 150
        switches.clear()
        assert switches.take("sendgrid") is None


def test_the_oldest_messages_make_room() -> None:
    recent = RecentMessages(kept=2)
    recent.add((str(number), lambda number=number: {"text": str(number)}) for number in range(3))  # type: ignore[misc]
    assert recent.find("0") is None
    assert recent.find("2") == {"text": "2"}
