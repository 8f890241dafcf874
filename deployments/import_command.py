"""`ics import`: hands a file to the HTTP API, shows how far it is, and prints what became of its rows."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deployments.client import ApiClient, ApiError
from deployments.import_tables import counts_table, reasons_table, rejects_table

URL = "/api/member-imports"
COMPLETED, FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done; the import failed; the file, an option or the import's state does not fit; Ctrl-C."""

_POLL_SECONDS = 0.5
_SHOWN_REJECTS = 20
# The API answers when the whole file is stored.
_UPLOAD_SECONDS = 600.0
_FINAL = ("completed", "failed", "undone")
_REFUSALS = (404, 409, 413, 422)


@dataclass(frozen=True)
class Options:
    """What the form of an import takes beside the file; None leaves it to the API.

    `mapping` is a JSON file with the mapping of columns to fields, `region` the country (two letters) of phone numbers
    in national form.
    """

    list_name: str | None = None
    mapping: Path | None = None
    mapping_name: str | None = None
    policy: str | None = None
    region: str | None = None
    sheet: str | None = None
    has_header: bool | None = None
    dry_run: bool = False

    def form(self) -> dict[str, str]:
        """The fields of the form.

        Raises:
            OSError: the file of the mapping cannot be read.
        """
        words = {True: "true", False: "false", None: None}
        form = {
            "list_name": self.list_name,
            "mapping": self.mapping.read_text(encoding="utf-8") if self.mapping else None,
            "mapping_name": self.mapping_name,
            "policy": self.policy,
            "default_region": self.region,
            "sheet": self.sheet,
            "has_header": words[self.has_header],
            "dry_run": words[self.dry_run],
        }
        return {name: value for name, value in form.items() if value is not None}


def import_file(
    client: ApiClient,
    path: Path,
    options: Options | None = None,
    *,
    rejects: Path | None = None,
    console: Console | None = None,
) -> int:
    """Upload `path`, follow the import to its end and print the report; returns the exit code.

    `rejects` is where the rejected rows are written, as a CSV that can be corrected and imported again.

    Raises:
        ApiError: the API does not answer, or the token is refused.
        OSError: a file cannot be read or written.
    """
    console = console or Console()
    with _Refusals(console) as refused:
        started = upload(client, path, options)
    return refused.code or follow(client, started, rejects=rejects, console=console)


def act(
    client: ApiClient,
    import_id: int,
    action: str | None,
    *,
    rejects: Path | None = None,
    console: Console | None = None,
) -> int:
    """Follow an import that is there and print its report, after asking for `undo`, or for `import` of a dry run.

    Returns the exit code. Raises as `import_file` does.
    """
    console = console or Console()
    with _Refusals(console) as refused:
        url = f"{URL}/{import_id}"
        started = client.post(f"{url}/{action}") if action else client.get(url)
    return refused.code or follow(client, started, rejects=rejects, console=console)


def upload(client: ApiClient, path: Path, options: Options | None = None) -> dict[str, Any]:
    """Hand the file to the API; returns the queued import."""
    form = (options or Options()).form()
    with path.open("rb") as file:
        member_import: dict[str, Any] = client.post(
            URL, files={"file": (path.name, file)}, data=form, timeout=_UPLOAD_SECONDS
        )
    return member_import


def follow(client: ApiClient, started: dict[str, Any], *, rejects: Path | None, console: Console) -> int:
    """Show how far the import is until it ends, then its report; returns the exit code."""
    try:
        finished = _watch(client, started, console)
    except KeyboardInterrupt:
        command = f"ics import --follow {started['id']}"
        console.print(f"Import {started['id']} goes on without this command; `{command}` follows it again.")
        return INTERRUPTED
    _print_report(client, finished, console)
    _show_rejects(client, finished, rejects, console)
    return FAILED if finished["state"] == "failed" else COMPLETED


class _Refusals:
    """What the API refuses is printed by field, and becomes the exit code for bad usage."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.code = COMPLETED

    def __enter__(self) -> "_Refusals":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, ApiError) or error.status not in _REFUSALS:
            return False
        self.code = BAD_USAGE
        if not error.fields:
            self._console.print(str(error), style="red", markup=False)
        for field, message in error.fields:
            self._console.print(f"{field.removeprefix('body.')}: {message}", style="red", markup=False)
        return True


def _watch(client: ApiClient, member_import: dict[str, Any], console: Console) -> dict[str, Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task(member_import["state"], total=None)
        while True:
            progress.update(
                bar,
                description=member_import["state"],
                completed=member_import["done_rows"],
                total=member_import["total_rows"],
            )
            if member_import["state"] in _FINAL:
                return member_import
            time.sleep(_POLL_SECONDS)
            member_import = client.get(_url(member_import))


def _url(member_import: Mapping[str, Any]) -> str:
    return f"{URL}/{member_import['id']}"


def _print_report(client: ApiClient, finished: Mapping[str, Any], console: Console) -> None:
    if finished["error"]:
        console.print(finished["error"], style="red", markup=False)
    report = client.get(f"{_url(finished)}/report")
    console.print(counts_table(report))
    if report["reasons"]:
        console.print(reasons_table(report["reasons"]))
    if report["new_fields"]:
        verb = "would be defined" if report["dry_run"] else "were defined"
        console.print(f"Custom fields that {verb}: {escape(', '.join(report['new_fields']))}")
    if report["dry_run"] and finished["state"] == "completed":
        console.print(
            f"Nothing was changed. `ics import --import-dry-run {finished['id']}` imports this file."
        )


def _show_rejects(
    client: ApiClient, finished: Mapping[str, Any], target: Path | None, console: Console
) -> None:
    """The first of what was left out, and the way to a file of all rejected rows."""
    url = f"{_url(finished)}/rejects"
    found = client.get(url, limit=_SHOWN_REJECTS)
    if found["items"]:
        console.print(rejects_table(found["items"], has_more=found["next_cursor"] is not None))
    if not finished["rejected"]:
        return
    if target is None:
        command = f"ics import --follow {finished['id']} --rejects FILE"
        console.print(f"`{command}` writes the rejected rows as a CSV, to be corrected and imported again.")
    else:
        client.download(url, target, format="csv")
        console.print(
            f"{finished['rejected']:,} rejected rows are in {target}: correct and import it.", markup=False
        )
