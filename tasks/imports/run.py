"""Runs an import: the stored file, chunk by chunk, into clients.

Each chunk is one transaction that also moves `done_rows`. A run that was cut is gone on with after the last chunk
that was committed; of two runs at once the second one finds its chunk taken, and stops.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from pandas import DataFrame
from sqlalchemy.exc import InterfaceError, OperationalError

from db.engine import Database
from db.errors import Conflict, Invalid
from db.models import MemberImport
from db.queries import imports
from db.queries.imports import CleanRows
from db.states import ImportState

log = structlog.get_logger()
CHUNK_ROWS = 5_000
# What a second try may well find gone: the database was away, the disk full.
_PASSING = (OperationalError, InterfaceError, OSError)


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
