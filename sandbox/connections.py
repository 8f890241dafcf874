"""Access to the sockets under uvicorn, to break answers the way networks do."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox.faults import Fault, Kind

_transports: dict[tuple[str, int], asyncio.Transport] = {}


class BreakableProtocol(H11Protocol):
    """uvicorn's HTTP protocol; it remembers the transport of each connection by the client's address."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername")
        self._peer = (peer[0], peer[1])
        _transports[self._peer] = transport
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _transports.pop(self._peer, None)
        super().connection_lost(exc)


async def broken_answer(request: Request, fault: Fault) -> Response:
    """Answer the way the fault says. What is returned after the socket is gone goes nowhere."""
    transport = _transports.get((request.client.host, request.client.port)) if request.client else None
    if fault.kind is Kind.HANG:
        await asyncio.sleep(fault.seconds)
    elif transport is not None and fault.kind is Kind.TRUNCATED:
        transport.write(b"HTTP/1.1 202 Accep")
        transport.close()
    elif transport is not None and fault.kind is Kind.GARBLED:
        transport.write(b"\x16\x03\x01 this is no HTTP at all\r\n\r\n")
        transport.close()
    elif transport is not None and fault.kind in (Kind.RESET_BEFORE, Kind.RESET_AFTER_ACCEPT):
        transport.abort()
    return Response(status_code=500)
