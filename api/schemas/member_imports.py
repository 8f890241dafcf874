"""What the routes of member imports take and answer."""

from datetime import datetime
from typing import Self

from api.schemas.base import Output
from db.models import MemberImport
from db.queries.imports import Severity
from db.states import ImportState
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import Preview, from_stored


class MappingOut(Output):
    """column -> target, and the region of phones in national form."""

    columns: dict[str, str]
    default_region: str | None

    @classmethod
    def of(cls, mapping: ColumnMapping) -> Self:
        return cls(columns=dict(mapping.targets), default_region=mapping.default_region)


class ProblemOut(Output):
    """What would be left out, and why; column and value are empty when it is the whole row."""

    row_number: int
    column: str
    value: str
    reason: str
    message: str


class ImportPreview(Output):
    """What a file looks like before it is imported: nothing of it is stored.

    `rows` are its first rows as they are written, `problems` what would be left out of them.
    """

    filename: str
    encoding: str
    delimiter: str
    columns: list[str]
    mapping: MappingOut
    rows: list[dict[str, str]]
    problems: list[ProblemOut]

    @classmethod
    def of(cls, filename: str, found: Preview) -> Self:
        return cls(
            filename=filename,
            encoding=found.layout.encoding,
            delimiter=found.layout.delimiter,
            columns=list(found.layout.columns),
            mapping=MappingOut.of(found.mapping),
            rows=found.rows,
            problems=[ProblemOut.model_validate(problem) for problem in found.problems],
        )


class MemberImportOut(Output):
    """An import and how far it is.

    `total_rows` is null until the file was read to its end once. When it is completed, total_rows = created +
    updated + duplicates + rejected; warnings are cells that were left out of rows that were kept.
    """

    id: int
    uid: str
    filename: str
    size_bytes: int
    client_list_id: int | None
    mapping: MappingOut
    state: ImportState
    error: str | None
    total_rows: int | None
    done_rows: int
    created: int
    updated: int
    duplicates: int
    rejected: int
    warnings: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: MemberImport) -> Self:
        return cls(
            id=row.id,
            uid=row.uid,
            filename=row.filename,
            size_bytes=row.size_bytes,
            client_list_id=row.client_list_id,
            mapping=MappingOut.of(from_stored(row.mapping)),
            state=row.state,
            error=row.error,
            total_rows=row.total_rows,
            done_rows=row.done_rows,
            created=row.created_count,
            updated=row.updated_count,
            duplicates=row.duplicate_count,
            rejected=row.rejected_count,
            warnings=row.warning_count,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


class ImportRejectOut(Output):
    """A row that was left out (`reject`), or something of a row that was kept (`warning`).

    `row_number` is the row a spreadsheet shows.
    """

    id: int
    severity: Severity
    row_number: int
    column_name: str
    value: str
    reason: str
    message: str
