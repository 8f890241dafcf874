"""A provider made of one socket: says exactly the bytes a test wants, or breaks off where it wants."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import IO


class Fault(Enum):
    """What happens after the whole request was read."""

    CLOSE = auto()
    RESET = auto()
    HANG = auto()
    """No answer until the server stops."""
    DRIP = auto()
    """A status line and headers without end, a byte every `DRIP_SECONDS`."""
    DRIP_BODY = auto()
    """A whole head at once, and a body a byte every `DRIP_SECONDS`."""


DRIP_SECONDS = 0.02
_DRIPS = {
    Fault.DRIP: (b"", b"HTTP/1.1 202 Accepted\r\nX-Padding: " + b"x" * 10_000),
    Fault.DRIP_BODY: (b"HTTP/1.1 202 Accepted\r\nContent-Length: 10000\r\n\r\n", b" " * 10_000),
}


@dataclass(frozen=True)
class Request:
    line: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Request], bytes | Fault]


@dataclass
class Wire:
    """A running server: where it is, and what it received."""

    url: str
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set once the server has closed a connection."""


def response(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A complete HTTP/1.1 answer. Underscores in the names of headers stand for dashes.

    After an answer with the header `X-Hang-Up` the server closes the connection without having said so.
    """
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextmanager
def serving(answer: Answer | bytes | Fault, *, tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """A server on a port of its own that gives `answer` to every request; `tls` is its side of TLS, if it speaks that."""
    reply: Answer = answer if callable(answer) else lambda _request: answer
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        scheme = "http" if tls is None else "https"
        wire = Wire(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}")
        threads: list[threading.Thread] = []

        def accept() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                if stopped.is_set():
                    connection.close()
                    return
                wire.connections += 1
                if tls is not None:
                    connection = tls.wrap_socket(connection, server_side=True)
                thread = threading.Thread(target=_talk, args=(connection, reply, wire, stopped), daemon=True)
                thread.start()
                threads.append(thread)

        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield wire
        finally:
            stopped.set()
            # Wakes the acceptor: closing a listening socket does not end a blocked accept() everywhere.
            socket.create_connection(listener.getsockname()).close()
            acceptor.join(5)


@contextmanager
def reading_slowly(bytes_per_second: int) -> Iterator[str]:
    """The address of a server that takes a request in so slowly, and never answers."""
    stopped = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Little is on its way at a time; the default lets megabytes leave at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def read() -> None:
            with listener.accept()[0] as connection:
                while connection.recv(bytes_per_second // 50) and not stopped.wait(1 / 50):
                    pass

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        reader.join(5)


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _talk(connection: socket.socket, reply: Answer, wire: Wire, stopped: threading.Event) -> None:
    with connection, connection.makefile("rb") as stream:
        _converse(connection, stream, reply, wire, stopped)
    wire.hung_up.set()


def _converse(
    connection: socket.socket, stream: IO[bytes], reply: Answer, wire: Wire, stopped: threading.Event
) -> None:
    while True:
        request = _read(stream.readline, stream.read)
        if request is None:
            return
        wire.requests.append(request)
        said = reply(request)
        if said is Fault.HANG:
            stopped.wait(30)
            return
        if said is Fault.RESET:
            # A socket closed with an unset linger time resets the connection.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        if isinstance(said, Fault):
            if said in _DRIPS:
                _drip(connection, *_DRIPS[said], stopped)
            return
        connection.sendall(said)
        if b"Content-Length" not in said or b"Connection: close" in said or b"X-Hang-Up" in said:
            return


def _drip(connection: socket.socket, at_once: bytes, slowly: bytes, stopped: threading.Event) -> None:
    try:
        connection.sendall(at_once)
        for number in range(len(slowly)):
            if stopped.wait(DRIP_SECONDS):
                return
            connection.sendall(slowly[number : number + 1])
    except OSError:  # the client has gone, as it should
        return


def _read(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Request | None:
    line = readline().decode("latin-1").strip()
    if not line:
        return None
    headers: dict[str, str] = {}
    while header := readline().decode("latin-1").strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, read(int(headers.get("content-length", "0"))))
