"""Runs an import: the stored file, chunk by chunk, into clients.

Each chunk is one transaction that also moves `done_rows`. A run that was cut is gone on with after the last
chunk that was committed; of two runs at once the second one finds its chunk taken, and stops.
"""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import structlog

from db.engine import Database
from db.errors import Conflict, Invalid
from db.models import MemberImport
from db.queries import imports
from db.queries.imports import PASSING_ERRORS, CleanRows, RejectRow, Severity
from db.states import ImportState
from settings import get_settings
from tasks.imports.cleaning import clean_chunk
from tasks.imports.duplicates import merge_duplicates
from tasks.imports.layout import detect_layout
from tasks.imports.mapping import ColumnMapping, validate_mapping
from tasks.imports.plan import from_stored
from tasks.imports.reading import Chunk, count_rows, read_chunks
from tasks.imports.rejects import Problem, Reason, Reject, reject

log = structlog.get_logger()
CHUNK_ROWS = 5_000
_HEARTBEAT_SECONDS = 5.0
# What another try may well find gone: the database was away, the disk was full.
_PASSING = (*PASSING_ERRORS, OSError)
_REPEATED = Problem(
    Reason.DUPLICATE_IN_FILE, "the same client as in an earlier row: merged, and what this row says won"
)

Progress = Callable[[int, int | None], None]
"""Called with the rows that are done, and with all there are."""


class ImportInterrupted(Exception):
    """The run could not go on for a reason that may pass; the import goes on in the next one.

    Says no more than the kind of error: the database's own words quote rows of the file.
    """


@dataclass(frozen=True)
class ImportReport:
    """Where an import stands. When it is completed, total = created + updated + duplicates + rejected."""

    import_id: int
    state: ImportState
    error: str | None
    total: int
    created: int
    updated: int
    duplicates: int
    rejected: int
    warnings: int

    def counts(self) -> dict[str, int]:
        names = ("total", "created", "updated", "duplicates", "rejected", "warnings")
        return {name: getattr(self, name) for name in names}


def run_import(
    database: Database, import_id: int, *, on_progress: Progress, chunk_rows: int = CHUNK_ROWS
) -> ImportReport:
    """Import what is left of the file. Safe to call again, at any time and from anywhere.

    A file that cannot be read, or whose mapping does not fit, makes the import `failed`; the report says so.

    Raises:
        NotFound: there is no such import.
        ImportInterrupted: the database or the disk failed; calling again goes on where this run stopped.
    """
    member_import = database.run(lambda s: imports.start_import(s, import_id))
    if member_import.state is ImportState.RUNNING:
        failure = _try(_Run(database, member_import, on_progress, chunk_rows), import_id)
        if failure is not None:
            database.run(lambda s: imports.fail_import(s, import_id, error=failure))
    return get_report(database, import_id)


def get_report(database: Database, import_id: int) -> ImportReport:
    """Where the import stands now."""
    with database.reading() as session:
        found = imports.get_import(session, import_id)
    return ImportReport(
        import_id=found.id,
        state=found.state,
        error=found.error,
        total=found.total_rows or 0,
        created=found.created_count,
        updated=found.updated_count,
        duplicates=found.duplicate_count,
        rejected=found.rejected_count,
        warnings=found.warning_count,
    )


class _Run:
    """One run over the file of one import."""

    def __init__(
        self, database: Database, member_import: MemberImport, on_progress: Progress, chunk_rows: int
    ) -> None:
        self._database = database
        self._id = member_import.id
        self._mapping = from_stored(member_import.mapping)
        self._done = member_import.done_rows
        self._on_progress = on_progress
        self._chunk_rows = chunk_rows
        self._beat_at = monotonic()
        # Who was in the file so far. Hashes, since the keys of a million clients take twice the memory.
        self._seen: set[int] = set()

    def to_its_end(self) -> None:
        """Import every row that is left, and complete the import."""
        with _stored_file(self._database, self._id) as path:
            layout = detect_layout(path)
            validate_mapping(self._mapping, layout.columns)
            total = count_rows(path, layout=layout)
            self._database.run(lambda s: imports.record_total_rows(s, self._id, total))
            self._on_progress(self._done, total)
            for chunk in read_chunks(path, chunk_rows=self._chunk_rows, layout=layout):
                self._take(chunk, total)
        self._database.run(lambda s: imports.complete_import(s, self._id))

    def _take(self, chunk: Chunk, total: int) -> None:
        """Import the rows of a chunk that no earlier run has imported."""
        before, rest = cut_chunk(chunk, self._done - chunk.first_row)
        if before.row_count:
            # Only to know later rows of the same clients as duplicates.
            self._remember(clean(before, self._mapping).clients)
            self._beat()
        if rest.row_count:
            rows = clean(rest, self._mapping, self._seen)
            self._database.run(lambda s: imports.advance_import(s, self._id, rows))
            self._beat_at = monotonic()
            self._done += rows.row_count
            self._remember(rows.clients)
            self._on_progress(self._done, total)

    def _remember(self, clients: Sequence[Mapping[str, Any]]) -> None:
        self._seen.update(hash(client["identity_key"]) for client in clients)

    def _beat(self) -> None:
        if monotonic() - self._beat_at >= _HEARTBEAT_SECONDS:
            self._database.run(lambda s: imports.heartbeat(s, self._id))
            self._beat_at = monotonic()


def clean(chunk: Chunk, mapping: ColumnMapping, seen: set[int] | None = None) -> CleanRows:
    """What a chunk means for the database. `seen` are the hashes of identity keys that earlier rows had."""
    region = mapping.default_region or get_settings().default_region
    cleaned = clean_chunk(chunk.frame, mapping, default_region=region)
    merged = merge_duplicates(cleaned.rows)
    repeated = [row for row in merged.rows if hash(row["identity_key"]) in (seen or ())]
    copies = [reject(row["row_number"], "", row["identity_key"], _REPEATED) for row in repeated]
    return CleanRows(
        first_row=chunk.first_row,
        row_count=chunk.row_count,
        clients=merged.rows,
        duplicates=len(merged.warnings),
        repeated=[row["identity_key"] for row in repeated],
        rejects=_stored(Severity.REJECT, [*chunk.rejects, *cleaned.rejects]),
        warnings=_stored(Severity.WARNING, [*cleaned.warnings, *merged.warnings, *copies]),
    )


def cut_chunk(chunk: Chunk, count: int) -> tuple[Chunk, Chunk]:
    """The first `count` rows of a chunk, and the others. Runs may differ in the size of their chunks."""
    count = min(max(count, 0), chunk.row_count)
    numbers = sorted([*chunk.frame.index.tolist(), *(found.row_number for found in chunk.rejects)])
    last = numbers[count - 1] if count else 0
    is_first = chunk.frame.index <= last
    first = tuple(found for found in chunk.rejects if found.row_number <= last)
    rest = tuple(found for found in chunk.rejects if found.row_number > last)
    return (
        Chunk(chunk.first_row, count, chunk.frame[is_first], first),
        Chunk(chunk.first_row + count, chunk.row_count - count, chunk.frame[~is_first], rest),
    )


def _stored(severity: Severity, rejects: list[Reject]) -> list[RejectRow]:
    found = sorted(rejects, key=lambda reject: reject.row_number)
    return [
        RejectRow(severity, each.row_number, each.column, each.value, each.reason.value, each.message)
        for each in found
    ]


@contextmanager
def _stored_file(database: Database, import_id: int) -> Iterator[Path]:
    """The uploaded file, copied out of the database for as long as the block runs."""
    with TemporaryDirectory(prefix="ics-import-") as folder:
        path = Path(folder) / "upload"
        with path.open("wb") as file, database.reading() as session:
            for piece in imports.read_file(session, import_id):
                file.write(piece)
        yield path


def _try(run: _Run, import_id: int) -> str | None:
    """Run it; returns why it failed, if it did for a reason that the next run would meet again."""
    try:
        run.to_its_end()
    except Invalid as error:
        return str(error)
    except Conflict as taken:
        log.warning("import taken over", import_id=import_id, reason=str(taken))
    except _PASSING as error:
        log.warning("import interrupted", import_id=import_id, error=type(error).__name__)
        raise ImportInterrupted(f"import {import_id}: {type(error).__name__}") from None
    except Exception as error:
        # Where it was is logged, not what it said: that may quote the file.
        where = "".join(traceback.format_tb(error.__traceback__)[-3:])
        log.error("import failed", import_id=import_id, error=type(error).__name__, where=where)
        return f"an unexpected {type(error).__name__} stopped the import; it was logged"
    return None
