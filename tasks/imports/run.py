"""Runs an import: the stored file, chunk by chunk, into clients.

Each chunk is one transaction that also moves `done_rows`. A run that was cut is gone on with after the last
chunk that was committed; of two runs at once the second one finds its chunk taken, and stops.
"""

import gc
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TypeVar

import structlog

from db.engine import Database
from db.errors import Conflict, Invalid
from db.models import MemberImport
from db.queries import import_writing, imports
from db.queries.custom_fields import list_field_types
from db.queries.import_writing import CleanRows
from db.queries.imports import PASSING_ERRORS
from db.states import ImportState
from settings import get_settings
from tasks.erasure import by_erased_address
from tasks.imports.layout import Layout, detect_layout
from tasks.imports.mapping import validate_mapping
from tasks.imports.plan import from_stored
from tasks.imports.preparing import Preparation, cut_chunk
from tasks.imports.reading import Chunk, count_rows, read_chunks
from tasks.imports.undo import undo
from tasks.imports.workbook import as_text_file
from tasks.signing import secret_keys

log = structlog.get_logger()
CHUNK_ROWS = 10_000
_HEARTBEAT_SECONDS = 5.0
_COLLECTED_AT_ONCE = 200_000
_SWITCH_SECONDS = 0.0005
# What another try may well find gone: the database was away, the disk was full.
_PASSING = (*PASSING_ERRORS, OSError)
T = TypeVar("T")

Progress = Callable[[int, int | None], None]
"""Called with the rows (of an undoing, the clients) that are done, and with all there are."""


class ImportInterrupted(Exception):
    """The run could not go on for a reason that may pass; the import goes on in the next one.

    Says no more than the kind of error: the database's own words quote rows of the file.
    """


COUNTS = (
    *("total", "created", "updated", "unchanged", "skipped", "duplicates", "rejected", "warnings"),
    "undone",
)


@dataclass(frozen=True)
class ImportReport:
    """Where an import stands. When it is completed, total = created + updated + unchanged + skipped + duplicates + rejected."""

    import_id: int
    state: ImportState
    error: str | None
    total: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    duplicates: int
    rejected: int
    warnings: int
    undone: int

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}


def run_import(
    database: Database, import_id: int, *, on_progress: Progress, chunk_rows: int = CHUNK_ROWS
) -> ImportReport:
    """Import what is left of the file, or take back what is left of an import that is being undone. Safe to call again, at any
    time and from anywhere.

    A file that cannot be read, or whose mapping does not fit, makes the import `failed`; the report says so.

    Raises:
        NotFound: there is no such import.
        ImportInterrupted: the database or the disk failed; calling again goes on where this run stopped.
    """
    member_import = database.run(lambda s: imports.start_import(s, import_id))
    if member_import.state is ImportState.RUNNING:
        work = _Run(database, member_import, on_progress, chunk_rows).to_its_end
    elif member_import.state is ImportState.UNDOING:
        work = partial(undo, database, import_id, on_progress=on_progress)
    else:
        return get_report(database, import_id)
    failure = _try(work, import_id)
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
        unchanged=found.unchanged_count,
        skipped=found.skipped_count,
        duplicates=found.duplicate_count,
        rejected=found.rejected_count,
        warnings=found.warning_count,
        undone=found.undone_count,
    )


class _Run:
    """One run over the file of one import: while a chunk is written, the next one is read and cleaned in a thread beside."""

    def __init__(
        self, database: Database, member_import: MemberImport, on_progress: Progress, chunk_rows: int
    ) -> None:
        self._database = database
        self._id = member_import.id
        self._mapping = from_stored(member_import.mapping)
        self._layout = Layout.from_json(member_import.layout) if member_import.layout else None
        self._policy = member_import.policy
        self._done = member_import.done_rows
        self._on_progress = on_progress
        self._chunk_rows = chunk_rows
        self._beat_at = monotonic()

    def to_its_end(self) -> None:
        """Import every row that is left, and complete the import."""
        with _stored_file(self._database, self._id) as stored, _fitted_interpreter():
            layout = self._layout or detect_layout(stored)
            path = as_text_file(stored, stored.parent, sheet=layout.sheet, on_progress=self._beat).path
            validate_mapping(self._mapping, layout.columns)
            total = count_rows(path, layout=layout)
            self._database.run(lambda s: imports.record_total_rows(s, self._id, total))
            self._on_progress(self._done, total)
            chunks = read_chunks(path, chunk_rows=self._chunk_rows, layout=layout)
            for rows in _one_ahead(self._prepared(chunks)):
                self._write(rows, total)
        self._database.run(lambda s: imports.complete_import(s, self._id))

    def _prepared(self, chunks: Iterator[Chunk]) -> Iterator[CleanRows | None]:
        """What the chunks mean that no earlier run has imported; None for each that one has."""
        preparation = self._preparation()
        done = self._done
        for chunk in chunks:
            before, rest = cut_chunk(chunk, done - chunk.first_row)
            if before.row_count:
                preparation.skip(before)
                yield None
            if rest.row_count:
                yield preparation.prepare(rest)

    def _preparation(self) -> Preparation:
        settings = get_settings()
        with self._database.reading() as session:
            fields = list_field_types(session)
        return Preparation(
            self._mapping,
            self._mapping.default_region or settings.default_region,
            self._policy,
            fields,
            partial(by_erased_address, secret_keys(settings)),
        )

    def _write(self, rows: CleanRows | None, total: int) -> None:
        if rows is None:
            self._beat()
            return
        self._database.run(lambda s: import_writing.advance_import(s, self._id, rows))
        self._beat_at = monotonic()
        self._done += rows.row_count
        self._on_progress(self._done, total)

    def _beat(self) -> None:
        if monotonic() - self._beat_at >= _HEARTBEAT_SECONDS:
            self._database.run(lambda s: imports.heartbeat(s, self._id))
            self._beat_at = monotonic()


def _one_ahead(items: Iterator[T]) -> Iterator[T]:
    """The items in their order; while one is worked on, the next one is made in a thread of its own."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="import") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]


@contextmanager
def _stored_file(database: Database, import_id: int) -> Iterator[Path]:
    """The uploaded file, copied out of the database for as long as the block runs."""
    with TemporaryDirectory(prefix="ics-import-") as folder:
        path = Path(folder) / "upload"
        with path.open("wb") as file, database.reading() as session:
            for piece in imports.read_file(session, import_id):
                file.write(piece)
        yield path


@contextmanager
def _fitted_interpreter() -> Iterator[None]:
    """Python's own housekeeping, fitted to two threads that go through millions of rows.

    Rows make no cycles, and are gone with their chunk: looking for cycles after every few hundred of them, and in all there
    is after every few chunks, is a third of the time of an import. And whoever has to wait for the interpreter gets it after
    half a millisecond: with the usual five the database would idle at each of its answers while the next chunk is cleaned.
    """
    before, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(_COLLECTED_AT_ONCE, 50, 50)
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        sys.setswitchinterval(interval)


def _try(work: Callable[[], None], import_id: int) -> str | None:
    """Do it; returns why it failed, if it did for a reason that the next run would meet again."""
    try:
        work()
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
