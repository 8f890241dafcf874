"""What the routes of member imports take and answer."""

from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel

from db.models import ImportReject, MemberImport
from db.states import ImportState


class ImportPreview(BaseModel):
    """What a file looks like before it is imported: nothing of it is stored."""

    filename: str
    encoding: str | None
    delimiter: str | None
    columns: list[str]
    mapping: dict[str, Any]
    rows: list[dict[str, str]]
    problems: list[str]


class MemberImportOut(BaseModel):
    """An import and how far it is.

    `total_rows` is null until the file was read to its end once. When it is completed, total_rows = created +
    updated + duplicates + rejected; warnings are cells that were left out of rows that were kept.
    """

    id: int
    uid: str
    filename: str
    size_bytes: int
    client_list_id: int | None
    mapping: dict[str, Any]
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
            mapping=row.mapping,
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


class ImportRejectOut(BaseModel):
    """A row that was left out (`reject`), or a cell that was (`warning`)."""

    id: int
    severity: str
    row_number: int
    column_name: str
    value: str
    reason: str
    message: str

    @classmethod
    def of(cls, row: ImportReject) -> Self:
        return cls.model_validate(row, from_attributes=True)
