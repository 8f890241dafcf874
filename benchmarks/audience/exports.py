"""All clients as one CSV over HTTP, as it comes: rows a second, and what the API's process takes."""

import time

import httpx

from benchmarks.measured import Row
from benchmarks.memory import watched
from deployments.local import LocalStack


def export_all(local: LocalStack, token: str, rows: int) -> Row:
    """Read the whole stream; every client must be in it."""
    lines = size = 0
    started = time.perf_counter()
    headers = {"Authorization": f"Bearer {token}"}
    with (
        watched(local.stack.pid("api")) as peak,
        httpx.stream(
            "GET", f"{local.api_url}/api/clients/export", headers=headers, timeout=120.0, trust_env=False
        ) as response,
    ):
        response.raise_for_status()
        for piece in response.iter_bytes():
            lines += piece.count(b"\n")
            size += len(piece)
    seconds = time.perf_counter() - started
    if lines != rows + 1:
        raise SystemExit(f"export: {lines:,} lines for {rows:,} clients")
    return Row("export, CSV", rows, seconds, {"megabytes": size // 1_000_000, "api_mb": round(peak.process)})
