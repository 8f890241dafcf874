"""What recipients got, to look at: the last messages only, in memory."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

KEPT = 50_000


class RecentMessages:
    """Thread-safe. Content is put together when somebody looks."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._messages: OrderedDict[str, Callable[[], dict[str, str]]] = OrderedDict()

    def add(self, messages: Iterable[tuple[str, Callable[[], dict[str, str]]]]) -> None:
        """References with what makes their content; the oldest make room."""
        with self._lock:
            for reference, content in messages:
                self._messages.pop(reference, None)
                self._messages[reference] = content
            while len(self._messages) > self._kept:
                self._messages.popitem(last=False)

    def find(self, reference: str) -> dict[str, str] | None:
        with self._lock:
            content = self._messages.get(reference)
        return None if content is None else content()
