"""Two hundred people who watch an execution, in one process: half by server-sent events, half by WebSocket.

    python -m benchmarks.listeners URL TOKEN FLOW_ID EXECUTION_ID COUNT

Says `ready`, listens to the flow's next execution (or to the one that is named) until its input ends, and says what was heard.
They read sockets and little more, so that the cost that is measured is not their own.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

import httpx
from websockets.asyncio.client import connect

FIRST_MARKER = 1_000_000_000
_MARKER = re.compile(rb'"machine_clicks":(\d{10})')


class Heard:
    """How many updates came to all, and when each marked one came to each."""

    def __init__(self) -> None:
        self.updates = 0
        self.arrived: list[tuple[int, float]] = []

    async def wait_for(self, number: int) -> None:
        """Until so many updates came: each listener gets one at once."""
        while self.updates < number:  # noqa: ASYNC110 - notes must stay cheap.
            await asyncio.sleep(0.01)

    def note(self, update: bytes) -> None:
        self.updates += 1
        if found := _MARKER.search(update):
            self.arrived.append((int(found[1]), time.time()))


async def listen(url: str, token: str, flow_id: int, execution_id: int, count: int) -> None:
    over = asyncio.Event()
    heard = Heard()
    end = asyncio.create_task(_wait_for_the_end(over))
    execution = execution_id or await _next_execution(url, token, flow_id, over)
    tasks = _start(url, f"/api/flow-executions/{execution}", token, heard, count)
    if execution_id:
        await heard.wait_for(count)
        print("ready", flush=True)
    await over.wait()
    broken = [task for task in tasks if task.done()]
    for task in (*tasks, end):
        task.cancel()
    await asyncio.gather(*tasks, end, return_exceptions=True)
    if broken:
        raise SystemExit(f"{len(broken)} streams broke: {broken[0]}")
    print(json.dumps({"updates": heard.updates, "arrived": heard.arrived}), flush=True)


def _start(url: str, path: str, token: str, heard: Heard, count: int) -> list[asyncio.Task[None]]:
    kinds = (_hear_events, _hear_messages)
    return [asyncio.create_task(kinds[number % 2](url, path, token, heard.note)) for number in range(count)]


async def _hear_events(url: str, path: str, token: str, note: Any) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    request = f"GET {path}/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(request.encode())
    if b" 200 " not in await reader.readline():
        raise SystemExit("a stream was refused")
    while line := await reader.readline():
        if line.startswith(b"data: "):
            note(line)


async def _hear_messages(url: str, path: str, token: str, note: Any) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    address = f"ws{url.removeprefix('http')}{path}/live"
    async with connect(address, additional_headers=headers, proxy=None, compression=None) as socket:
        while True:
            message = await socket.recv(decode=False)
            if message != b'{"id":null}':
                note(message)


async def _wait_for_the_end(over: asyncio.Event) -> None:
    await asyncio.to_thread(sys.stdin.read)
    over.set()


async def _next_execution(url: str, token: str, flow_id: int, over: asyncio.Event) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        before = await _newest(client, flow_id)
        print("ready", flush=True)
        while not over.is_set():
            if (found := await _newest(client, flow_id)) > before:
                return found
            await asyncio.sleep(0.05)
    raise SystemExit("nothing was sent")


async def _newest(client: httpx.AsyncClient, flow_id: int) -> int:
    answer = await client.get("/api/flow-executions", params={"flow_id": flow_id, "limit": 200})
    return max((each["id"] for each in answer.json()["items"]), default=0)


if __name__ == "__main__":
    address, secret, *numbers = sys.argv[1:]
    asyncio.run(listen(address, secret, *map(int, numbers)))
