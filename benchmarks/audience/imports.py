"""An import as its users have it: API, Prefect and a worker, from the 202 to `completed`."""

import json
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.audience.crm_file import MAPPING
from benchmarks.measured import Row
from benchmarks.memory import watched
from deployments.client import ApiClient
from deployments.local import LocalStack

_POLL_SECONDS: Final = 0.25
_UPLOAD_SECONDS: Final = 600.0


def import_file(local: LocalStack, client: ApiClient, path: Path, rows: int, *, expect: str) -> Row:
    """Import the file; every row must be counted under `expect` (`created`, `unchanged`), or there is no figure."""
    began = time.perf_counter()
    with path.open("rb") as file:
        found = client.post(
            "/api/member-imports",
            files={"file": (path.name, file)},
            data={"mapping": json.dumps(MAPPING)},
            timeout=_UPLOAD_SECONDS,
        )
    stored = time.perf_counter()
    with watched(local.stack.pid("worker")) as peak:
        found = _follow(client, found)
        seconds = time.perf_counter() - stored
    if found["state"] != "completed" or found[expect] != rows:
        raise SystemExit(f"import: {found}")
    return Row(
        f"import, {expect}",
        rows,
        seconds,
        {
            "upload_seconds": round(stored - began, 1),
            "worker_mb": round(peak.tree),
            "largest_process_mb": round(peak.process),
        },
    )


def _follow(client: ApiClient, found: dict[str, Any]) -> dict[str, Any]:
    while found["state"] in ("queued", "running"):
        time.sleep(_POLL_SECONDS)
        found = client.get(f"/api/member-imports/{found['id']}")
    return found
