"""A TCP proxy between a worker and MariaDB or MySQL that cuts a connection at the COMMIT of a chosen transaction.

PyMySQL commits by the command COM_QUERY with the text `COMMIT`, and sends its values inside the text of its statements.
So the last state of a batch that a transaction has written (`claimed`, `sending`, `done`, ...) names the transaction.
"""

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_QUERY: Final = b"\x03"
_HEADER: Final = 4
_ANSWER_SECONDS: Final = 2.0
_BATCHES = re.compile(rb"\s*UPDATE \S*batches SET (.*)", re.DOTALL)
_STATE = re.compile(rb"\bstate='(\w+)'")


@dataclass
class Cut:
    """Cut the connection at the COMMIT of the `nth` transaction that leaves a batch in `state`.

    `is_passed_on`: the server gets the COMMIT and its answer is lost; else the COMMIT itself is lost.
    """

    state: str
    nth: int = 1
    is_passed_on: bool = True

    @property
    def name(self) -> str:
        return f"COMMIT of {self.state}: {'answer' if self.is_passed_on else 'command'} lost"


class Proxy:
    """Listens on a port of its own until closed; two threads a connection."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._cuts: list[Cut] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.fired: list[Cut] = []
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    def arm(self, cut: Cut) -> None:
        with self._lock:
            self._cuts.append(cut)

    def due(self, state: bytes) -> Cut | None:
        """Count a COMMIT; the cut it gets, if any."""
        with self._lock:
            for cut in self._cuts:
                if cut.state.encode() == state:
                    cut.nth -= 1
                    if cut.nth == 0:
                        self._cuts.remove(cut)
                        self.fired.append(cut)
                        return cut
        return None

    def close(self) -> None:
        """Take no more connections; those there are go on."""
        _end(self._listener)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                _end(client)
                continue
            _Connection(self, client, server).start()


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._answered = threading.Event()
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def start(self) -> None:
        for direction in (self._ask, self._answer):
            threading.Thread(target=direction, daemon=True).start()

    def _ask(self) -> None:
        """Pass whole packets on to the server, until one is to be cut."""
        state, waiting = b"", b""
        with suppress(OSError):
            while data := self._client.recv(65536):
                waiting += data
                while packet := _first_packet(waiting):
                    waiting = waiting[len(packet) :]
                    statement = packet[_HEADER + 1 :] if packet[_HEADER : _HEADER + 1] == _QUERY else b""
                    state = _state_after(state, statement)
                    cut = self._proxy.due(state) if statement == b"COMMIT" else None
                    if cut is not None:
                        return self._cut(cut, packet)
                    self._server.sendall(packet)
        _end(self._server)
        return None

    def _answer(self) -> None:
        with suppress(OSError):
            while data := self._server.recv(65536):
                self._answered.set()
                self._client.sendall(data)
        _end(self._client)
        self._answered.set()

    def _cut(self, cut: Cut, packet: bytes) -> None:
        # First the client's side, so that no answer can slip through.
        _end(self._client)
        if cut.is_passed_on:
            self._answered.clear()
            self._server.sendall(packet)
            self._answered.wait(_ANSWER_SECONDS)
        _end(self._server)


def _first_packet(data: bytes) -> bytes | None:
    """A packet is three bytes of length (little-endian), a number, and that many bytes."""
    size = _HEADER + int.from_bytes(data[:3], "little")
    return data[:size] if len(data) >= _HEADER and len(data) >= size else None


def _state_after(state: bytes, statement: bytes) -> bytes:
    """The last state a batch got in the transaction that this statement is part of; "" before any."""
    if statement in (b"BEGIN", b"ROLLBACK") or statement.startswith(b"SET "):
        return b""
    found = _BATCHES.match(statement)
    written = _STATE.search(found.group(1).partition(b" WHERE ")[0]) if found else None
    return written.group(1) if written else state


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with suppress(OSError):
        connection.close()
