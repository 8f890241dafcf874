"""What the routes of member imports take and answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import UploadFile
from pydantic import Field

from api.schemas.base import MAX_ID, Input, Name, Output
from db.fields import FieldKind
from db.models import MemberImport
from db.queries.import_reports import ReasonCount
from db.queries.imports import Severity
from db.states import ImportPolicy, ImportState
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import Preview, from_stored
from tasks.imports.profiles import ColumnKind, Profile
from tasks.imports.suggestions import Suggestion
from tasks.imports.targets import DateOrder, DecimalMark

Region = Annotated[
    str | None,
    Field(pattern="^[A-Z]{2}$", description="Country of phones in national form, e.g. IE."),
]


class FileForm(Input):
    """A file, and what a person says about how to read it."""

    file: UploadFile
    mapping: str | None = Field(None, description="JSON: column -> target; suggested when left out.")
    mapping_name: Name | None = Field(None, description="Name or id of a saved mapping.")
    sheet: Annotated[str, Field(max_length=255)] | None = Field(
        None, description="A workbook's sheet; the first one with content when left out."
    )
    # FastAPI takes a missing bool of a form for an unchecked box, which is False.
    has_header: Literal["true", "false"] | None = Field(
        None, description="Whether the first row holds names of columns; looked at when left out."
    )
    default_region: Region = None


class ImportForm(FileForm):
    """The same, and what is to be done with the clients."""

    client_list_id: int | None = Field(None, ge=1, le=MAX_ID)
    list_name: Name | None = Field(None, description="Made if it does not exist.")
    policy: ImportPolicy = Field(
        ImportPolicy.UPDATE,
        description="Clients that exist: update lets the file win, fill writes empty fields only, skip leaves them.",
    )
    dry_run: bool = Field(False, description="Count what would happen, and change nothing.")


class MappingOut(Output):
    """column -> target, the region of phones in national form, and how dates and numbers are read."""

    columns: dict[str, str]
    default_region: str | None
    date_order: DateOrder | None
    decimal: DecimalMark | None

    @classmethod
    def of(cls, mapping: ColumnMapping) -> Self:
        return cls(
            columns=dict(mapping.targets),
            default_region=mapping.default_region,
            date_order=mapping.date_order,
            decimal=mapping.decimal,
        )


class ProblemOut(Output):
    """What would be left out, and why; column and value are empty when it is the whole row."""

    row_number: int
    column: str
    value: str
    reason: str
    message: str


class ColumnOut(Output):
    """A column: what is in it, and where it seems to belong.

    `fits` of the `filled` cells that were looked at are of the detected `kind`. `confidence` is from 0 to 1 and told in
    words by `reason`; below 0.6 the suggestion should be looked at. `date_order` and `decimal` are what the cells show.
    """

    name: str
    samples: list[str]
    kind: ColumnKind
    fits: int
    filled: int
    date_order: DateOrder | None
    decimal: DecimalMark | None
    target: str
    confidence: float
    reason: str

    @classmethod
    def of(cls, name: str, profile: Profile, suggestion: Suggestion) -> Self:
        return cls(
            name=name,
            samples=list(profile.samples),
            kind=profile.kind,
            fits=profile.fits,
            filled=profile.filled,
            date_order=profile.date_order,
            decimal=profile.decimal,
            target=suggestion.target,
            confidence=suggestion.confidence,
            reason=suggestion.reason,
        )


class ImportPreview(Output):
    """What a file looks like before it is imported: nothing of it is stored.

    `columns` say what is suggested; `mapping` is the one that was given or else the suggested one, and `new_fields` the
    custom fields that it would define. `rows` are the first rows as they are written, `problems` what would be left out
    of them, `notes` doubts about the file as a whole. `encoding` and `delimiter` are null for a workbook.
    """

    filename: str
    encoding: str | None
    delimiter: str | None
    has_header: bool
    header_row: int
    sheet: str | None
    sheets: list[str]
    columns: list[ColumnOut]
    mapping: MappingOut
    new_fields: dict[str, FieldKind]
    rows: list[dict[str, str]]
    problems: list[ProblemOut]
    notes: list[str]

    @classmethod
    def of(cls, filename: str, found: Preview) -> Self:
        layout, suggested = found.plan.layout, found.suggested
        return cls(
            filename=filename,
            encoding=None if layout.sheet else layout.encoding,
            delimiter=None if layout.sheet else layout.delimiter,
            has_header=layout.has_header,
            header_row=layout.header_row,
            sheet=layout.sheet,
            sheets=list(found.sheets),
            columns=[
                ColumnOut.of(name, suggested.profiles[name], suggested.suggestions[name])
                for name in layout.columns
            ],
            mapping=MappingOut.of(found.plan.mapping),
            new_fields=found.new_fields,
            rows=found.rows,
            problems=[ProblemOut.model_validate(problem) for problem in found.problems],
            notes=found.notes,
        )


class MemberImportOut(Output):
    """An import and how far it is.

    `total_rows` is null until the file was read to its end once. When it is completed, total_rows = created + updated +
    unchanged + skipped + duplicates + rejected; warnings are cells that were left out of rows that were kept. A dry run
    counts the same and changes nothing. `undone` counts the clients whose import was taken back. `new_fields` are custom
    fields that it defined, or would define.
    """

    id: int
    uid: str
    filename: str
    size_bytes: int
    client_list_id: int | None
    list_name: str | None
    mapping: MappingOut
    sheet: str | None
    has_header: bool
    policy: ImportPolicy
    dry_run: bool
    created_by: str
    new_fields: list[str]
    state: ImportState
    error: str | None
    total_rows: int | None
    done_rows: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    duplicates: int
    rejected: int
    warnings: int
    undone: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, row: MemberImport) -> Self:
        layout: dict[str, Any] = row.layout or {}
        return cls(
            id=row.id,
            uid=row.uid,
            filename=row.filename,
            size_bytes=row.size_bytes,
            client_list_id=row.client_list_id,
            list_name=row.list_name,
            mapping=MappingOut.of(from_stored(row.mapping)),
            sheet=layout.get("sheet"),
            has_header=layout.get("has_header", True),
            policy=row.policy,
            dry_run=row.dry_run,
            created_by=row.created_by,
            new_fields=row.new_fields or [],
            state=row.state,
            error=row.error,
            total_rows=row.total_rows,
            done_rows=row.done_rows,
            created=row.created_count,
            updated=row.updated_count,
            unchanged=row.unchanged_count,
            skipped=row.skipped_count,
            duplicates=row.duplicate_count,
            rejected=row.rejected_count,
            warnings=row.warning_count,
            undone=row.undone_count,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )


class ReasonOut(Output):
    """How often something was left out for one reason; `column` is empty where it was the whole row."""

    severity: Severity
    reason: str
    column: str
    count: int


class ImportReportOut(Output):
    """An import in numbers: what became of its rows, and why something was left out."""

    id: int
    state: ImportState
    dry_run: bool
    policy: ImportPolicy
    counts: dict[str, int]
    reasons: list[ReasonOut]
    new_fields: list[str]

    @classmethod
    def of(cls, row: MemberImport, reasons: Sequence[ReasonCount]) -> Self:
        return cls(
            id=row.id,
            state=row.state,
            dry_run=row.dry_run,
            policy=row.policy,
            counts={
                "total": row.total_rows or 0,
                "created": row.created_count,
                "updated": row.updated_count,
                "unchanged": row.unchanged_count,
                "skipped": row.skipped_count,
                "duplicates": row.duplicate_count,
                "rejected": row.rejected_count,
                "warnings": row.warning_count,
                "undone": row.undone_count,
            },
            reasons=[ReasonOut.model_validate(found) for found in reasons],
            new_fields=row.new_fields or [],
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
