"""The least a provider can be: reads a request, answers that it was taken. `python -m benchmarks.sink PORT`.

`GET /` answers `{"requests": n, "first_at": seconds since the epoch of the first one, "bytes": n}` and starts anew; `GET /times`
answers when each request came.
"""

import asyncio
import json
import re
import sys
import time

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_MAIL = b"HTTP/1.1 202 Accepted\r\nX-Message-Id: sink\r\nContent-Length: 0\r\n\r\n"
_SMS_BODY = b'{"id":"sink","status":"queued"}'
_SMS = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(_SMS_BODY),
    _SMS_BODY,
)


class Sink:
    """Counts and answers."""

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0
        self.first_at: float | None = None
        self.times: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /times"):
                    writer.write(_json(self.times))
                    continue
                if head.startswith(b"GET"):
                    writer.write(self._report())
                    continue
                self.times.append(time.time())
                if self.first_at is None:
                    self.first_at = time.time()
                found = _LENGTH.search(head)
                length = int(found.group(1)) if found else 0
                await reader.readexactly(length)
                self.requests += 1
                self.bytes += length
                writer.write(_MAIL if head.startswith(b"POST /v3/") else _SMS)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _report(self) -> bytes:
        found = {"requests": self.requests, "first_at": self.first_at, "bytes": self.bytes}
        self.requests, self.bytes, self.first_at, self.times = 0, 0, None, []
        return _json(found)


def _json(document: object) -> bytes:
    body = json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def _main(port: int) -> None:
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", port, limit=2**26)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
