"""Named points of the batch protocol at which a worker process dies or falls asleep, and a log of what it committed.

The engine knows nothing of this: its functions are wrapped from outside, in the process of `tests.faults.worker` only.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import orjson
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from db.queries import ledger
from db.queries.transitions import ClaimedBatch
from tasks.sending.email import EmailSender
from tasks.sending.sms import SmsSender

CRASH = "ICS_FAULT_CRASH"
STOP = "ICS_FAULT_STOP"
COMMITS = "ICS_FAULT_COMMITS"
CLOCK = "ICS_FAULT_CLOCK"
# What writes the outcome of a request; each is one transaction that the engine calls its record.
_RECORDS = ("accept_batch", "return_batch", "refuse_messages", "leave_unknown", "record_sms")


class Point(StrEnum):
    """A moment in the life of a batch, in their order."""

    BEFORE_CLAIM_COMMIT = "before_claim_commit"
    AFTER_CLAIM = "after_claim"
    AFTER_READ = "after_read"
    AFTER_RENDER = "after_render"
    BEFORE_SENDING_COMMIT = "before_sending_commit"
    AFTER_SENDING_COMMIT = "after_sending_commit"
    BEFORE_POST = "before_post"
    MID_POST = "mid_post"
    AFTER_POST = "after_post"
    BEFORE_RECORD_COMMIT = "before_record_commit"
    AFTER_RECORD_COMMIT = "after_record_commit"


class Triggers:
    """Sends this process a signal when it comes to a point for the so-many-th time. Safe to use from several threads."""

    def __init__(self, plan: dict[Point, tuple[int, signal.Signals]]) -> None:
        self._plan = plan
        self._lock = threading.Lock()

    def reach(self, point: Point) -> None:
        """The process is at the point; does not return when it is time to die."""
        number = self.due(point)
        if number is not None:
            fire(number)

    def due(self, point: Point) -> signal.Signals | None:
        """Count an arrival; the signal to send when it is this one."""
        with self._lock:
            if point not in self._plan:
                return None
            left, number = self._plan[point]
            self._plan[point] = (left - 1, number)
            return number if left == 1 else None


def triggers_of(environment: os._Environ[str] | dict[str, str]) -> Triggers:
    """What `ICS_FAULT_CRASH` and `ICS_FAULT_STOP` ask for, each as `point:count`."""
    plan = {}
    for variable, number in ((CRASH, signal.SIGKILL), (STOP, signal.SIGSTOP)):
        if wanted := environment.get(variable):
            point, _, count = wanted.partition(":")
            plan[Point(point)] = (int(count or 1), number)
    return Triggers(plan)


class CommitLog:
    """One line for each batch that is about to commit `sending`, appended before the commit.

    A line is {began, batch, token, ids}: `began` is the database's clock (epoch seconds) when the transaction began.
    A transaction that failed has left a line too, so only the last line of a message tells when it was sent.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def append(self, began: float, batch: ClaimedBatch, ids: set[int]) -> None:
        line = {"began": began, "batch": batch.id, "token": batch.token, "ids": sorted(ids)}
        # One write: a process that is killed leaves whole lines.
        os.write(self._file, orjson.dumps(line) + b"\n")


def install(triggers: Triggers, commits: CommitLog | None = None) -> None:
    """Wrap the functions of this process. Before the engine makes its first step."""
    _wrap_claim(triggers)
    _wrap_sending(triggers, commits)
    _wrap_plain(ledger, "read_batch", triggers, Point.AFTER_READ)
    for sender in (EmailSender, SmsSender):
        _wrap_plain(sender, "render", triggers, Point.AFTER_RENDER)
    for name in _RECORDS:
        _wrap_record(name, triggers)
    _wrap_post(triggers)


def fire(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    if number == signal.SIGKILL:  # It is on its way: nothing more may happen in this thread.
        signal.pause() if threading.current_thread() is threading.main_thread() else threading.Event().wait()


def _wrap_claim(triggers: Triggers) -> None:
    original = ledger.claim_batch

    def claim(session: Session, *args: Any, **values: Any) -> ClaimedBatch | None:
        batch = original(session, *args, **values)
        if batch is not None:
            _around_commit(session, triggers, Point.BEFORE_CLAIM_COMMIT, Point.AFTER_CLAIM)
        return batch

    ledger.claim_batch = claim


def _wrap_sending(triggers: Triggers, commits: CommitLog | None) -> None:
    original = ledger.commit_sending

    def commit(session: Session, batch: ClaimedBatch, **values: Any) -> set[int]:
        began = database_clock(session)
        ids = original(session, batch, **values)
        if ids:
            if commits is not None:
                commits.append(began, batch, ids)
            _around_commit(session, triggers, Point.BEFORE_SENDING_COMMIT, Point.AFTER_SENDING_COMMIT)
        return ids

    ledger.commit_sending = commit


def _wrap_record(name: str, triggers: Triggers) -> None:
    original = getattr(ledger, name)

    def record(session: Session, *args: Any, **values: Any) -> None:
        original(session, *args, **values)
        _around_commit(session, triggers, Point.BEFORE_RECORD_COMMIT, Point.AFTER_RECORD_COMMIT)

    setattr(ledger, name, record)


def _wrap_plain(owner: Any, name: str, triggers: Triggers, point: Point) -> None:
    original = getattr(owner, name)

    def wrapped(*args: Any, **values: Any) -> Any:
        result = original(*args, **values)
        triggers.reach(point)
        return result

    setattr(owner, name, wrapped)


def _wrap_post(triggers: Triggers) -> None:
    """Both providers are spoken to by httpx, and nothing else of this process uses it."""
    original = httpx.Client.send

    def send(client: httpx.Client, request: httpx.Request, **values: Any) -> httpx.Response:
        triggers.reach(Point.BEFORE_POST)
        number = triggers.due(Point.MID_POST)
        if number is not None:
            request.stream = _Half(request.content, number)
        response = original(client, request, **values)
        triggers.reach(Point.AFTER_POST)
        return response

    setattr(httpx.Client, "send", send)  # noqa: B010 - mypy knows no other way to wrap a method


class _Half(httpx.SyncByteStream):
    """A body of which half is written when the signal comes."""

    def __init__(self, body: bytes, number: signal.Signals) -> None:
        self._body = body
        self._number = number

    def __iter__(self) -> Iterator[bytes]:
        half = len(self._body) // 2
        yield self._body[:half]
        fire(self._number)
        yield self._body[half:]


def _around_commit(session: Session, triggers: Triggers, before: Point, after: Point) -> None:
    """Reach the points right before and right after this transaction's COMMIT."""
    _once(session, "before_commit", lambda _: triggers.reach(before))
    _once(session, "after_commit", lambda _: triggers.reach(after))


def _once(session: Session, name: str, action: Callable[[Session], None]) -> None:
    event.listen(session, name, action, once=True)


def database_clock(session: Session) -> float:
    """The database's clock in epoch seconds."""
    return float(session.scalars(text("SELECT UNIX_TIMESTAMP(SYSDATE(6))")).one())
