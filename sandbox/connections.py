"""Access to the sockets under uvicorn, to break answers the way networks do."""

import asyncio
from collections.abc import Hashable

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.faults import Fault, Kind

_transports: dict[Hashable, asyncio.Transport] = {}


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP protocol; it remembers the transport of each connection by the addresses of its two ends."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._ends = tuple(tuple(transport.get_extra_info(name)[:2]) for name in ("sockname", "peername"))
        _transports[self._ends] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _transports.pop(self._ends, None)
        super().connection_lost(exc)


async def broken_answer(request: Request, fault: Fault, honest: Response) -> Response:
    """Answer in place of `honest` the way the fault says; what is returned goes to a socket that is gone.

    The request's body has to be read before. Without `BreakableProtocol` there is no socket to break, and the answer
    is a 500.
    """
    if fault.kind is Kind.GARBLED and honest.body:
        return Response(bytes(honest.body)[::-1], honest.status_code, media_type="text/html")
    transport = _transports.get((tuple(request.scope["server"]), tuple(request.scope["client"] or ())))
    if transport is None:
        return Response(status_code=500)
    if fault.kind is Kind.HANG:
        await _until_gone(request, fault.seconds)
        transport.abort()
    elif fault.kind is Kind.SLOW_DRIP:
        await _drip(request, transport, _wire_form(honest), fault.seconds)
    elif fault.kind is Kind.TRUNCATED:
        _say(transport, _cut(honest))
    elif fault.kind is Kind.GARBLED:
        _say(transport, b"\x16\x03\x01 this is no HTTP at all\r\n\r\n")
    else:
        transport.abort()
    await _until_gone(request, 5.0)
    return honest


def _say(transport: asyncio.Transport, data: bytes) -> None:
    transport.write(data)
    transport.close()


async def _drip(request: Request, transport: asyncio.Transport, data: bytes, seconds: float) -> None:
    """Say it over so many seconds, a byte at a time, as long as somebody listens."""
    for number in range(len(data)):
        await _until_gone(request, seconds / len(data))
        if transport.is_closing():
            return
        transport.write(data[number : number + 1])
    transport.close()


def _cut(honest: Response) -> bytes:
    """Two thirds of the answer: in the middle of its head, or of its body when it has one."""
    whole, body = _wire_form(honest), bytes(honest.body)
    return whole[: len(whole) - len(body) + len(body) * 2 // 3] if body else whole[: len(whole) * 2 // 3]


def _wire_form(honest: Response) -> bytes:
    """Head and body as they go over the wire, for the last answer on a connection."""
    head = [f"HTTP/1.1 {honest.status_code} OK".encode(), b"Connection: close"]
    head += [name + b": " + value for name, value in honest.raw_headers]
    return b"\r\n".join([*head, b"", b""]) + bytes(honest.body)


async def _until_gone(request: Request, seconds: float) -> None:
    """Until the client closed the connection, or so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            while (await request.receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass
