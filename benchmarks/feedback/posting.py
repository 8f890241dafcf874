"""Posts webhooks as SendGrid does: several at a time, each until it is taken."""

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final

from benchmarks.feedback.events import Post

AT_A_TIME: Final = 4
_PATH = "/webhooks/sendgrid"


def post_all(port: int, posts: Sequence[Post]) -> list[float]:
    """Post all of them; returns the seconds until each was answered.

    Raises:
        SystemExit: one was answered by anything but 204.
    """
    waiting = list(reversed(posts))
    lock = Lock()

    def run() -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        took: list[float] = []
        while True:
            with lock:
                if not waiting:
                    return took
                post = waiting.pop()
            started = time.perf_counter()
            connection.request("POST", _PATH, body=post.body, headers=post.headers)
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - started)
            if answer.status != 204:
                raise SystemExit(f"a webhook was answered {answer.status}")

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        return [
            each for future in [threads.submit(run) for _ in range(AT_A_TIME)] for each in future.result()
        ]
