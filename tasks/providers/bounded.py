"""A transport whose exchanges end in time.

httpx bounds each single read and write, so an answer that comes byte by byte would last for as long as it likes, past the
lease of its batch. Here all reads and writes share the seconds of one exchange.
"""

import threading
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore
import httpx

_SocketOptions = Iterable[Any] | None


class BoundedTransport(httpx.HTTPTransport):
    """HTTP/1.1 over kept connections; an exchange (connection, request and answer together) takes at most `seconds`.

    The time-outs of the client hold besides, each for one operation. Out of time raises what they raise: ConnectTimeout
    before anything left, WriteTimeout or ReadTimeout after. The system's look-up of a name is not cut short, nor a host
    with several addresses, each of which is tried; but no request leaves once they have taken too long. Several threads may use it,
    with one exchange at a time each.
    """

    def __init__(self, seconds: float, limits: httpx.Limits) -> None:
        context = httpx.create_ssl_context(trust_env=False)
        super().__init__(verify=context, trust_env=False, limits=limits)
        self._budget = _Budget(seconds)
        # httpx offers no way to sockets of one's own; httpcore, below it, does.
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=_Backend(self._budget),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._budget.begin()
        return super().handle_request(request)


class _Budget(threading.local):
    """Until when the exchange of this thread may take."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = 0.0

    def begin(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def left(self, timeout: float | None, late: type[Exception]) -> float:
        """Seconds for the next operation, at most `timeout`; raises `late` when there are none left."""
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise late("out of time")
        return seconds if timeout is None else min(seconds, timeout)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, budget: _Budget) -> None:
        self._budget = budget
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.NetworkStream:
        seconds = self._budget.left(timeout, httpcore.ConnectTimeout)
        stream = self._backend.connect_tcp(host, port, seconds, local_address, socket_options)
        try:
            # The look-up, and several addresses one after the other, may have taken more than was left.
            self._budget.left(timeout, httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            stream.close()
            raise
        return _Stream(stream, self._budget)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, budget: _Budget) -> None:
        self._stream = stream
        self._socket = stream.get_extra_info("socket")
        self._budget = budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._budget.left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """As httpcore writes, but it gives every part that the socket takes the full time again."""
        rest = memoryview(buffer)
        try:
            while rest:
                self._socket.settimeout(self._budget.left(timeout, httpcore.WriteTimeout))
                rest = rest[self._socket.send(rest) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = self._budget.left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._budget)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
