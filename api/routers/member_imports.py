"""Member imports: upload a file, follow its way into clients, and see what was left out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Form, Query, UploadFile
from fastapi.responses import StreamingResponse

from api.dependencies import DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import TooLarge, responses
from api.schemas.base import MAX_ID, PageOut
from api.schemas.member_imports import ImportPreview, ImportRejectOut, MemberImportOut
from db.engine import Database, Session
from db.models import MemberImport
from db.queries import imports
from db.queries.imports import Severity
from tasks.imports.mapping import ColumnMapping
from tasks.imports.plan import plan_import, preview_file, to_stored
from tasks.orchestration.sync import dispatch_import
from tasks.spreadsheets import BYTE_ORDER_MARK, csv_lines

router = APIRouter(prefix="/api/member-imports", tags=["member imports"])

_CSV_PAGE = 1000
_CSV_HEADER = ("row", "severity", "column", "value", "reason", "message")
Region = Annotated[
    str | None, Form(pattern="^[A-Z]{2}$", description="Country of phones in national form, e.g. IE.")
]


@router.post("/preview", responses=responses(413))
def preview_import(settings: SettingsDep, file: UploadFile, default_region: Region = None) -> ImportPreview:
    """How a file would be read: encoding, columns, a suggested mapping, its first rows and their problems."""
    with _saved(file, settings.max_import_bytes) as path:
        found = preview_file(path, default_region=default_region or settings.default_region)
    return ImportPreview.of(_name(file), found)


@router.post("", status_code=202, responses=responses(404, 409, 413))
def create_import(
    database: DatabaseDep,
    settings: SettingsDep,
    background: BackgroundTasks,
    file: UploadFile,
    mapping: Annotated[
        str | None, Form(description="JSON: column -> target; suggested when left out.")
    ] = None,
    client_list_id: Annotated[int | None, Form(ge=1, le=MAX_ID)] = None,
    list_name: Annotated[
        str | None, Form(min_length=1, max_length=150, description="Made if it does not exist.")
    ] = None,
    default_region: Region = None,
) -> MemberImportOut:
    """Store a file and import it. Once answered it is safe: should Prefect be away, it is imported later."""
    with _saved(file, settings.max_import_bytes) as path:
        plan = plan_import(path, given=mapping, region=default_region, default_region=settings.default_region)
        stored = _store(database, path, _name(file), plan, list_id=client_list_id, list_name=list_name)
    background.add_task(dispatch_import, database, stored.id)
    return MemberImportOut.of(stored)


@router.get("")
def list_imports(database: DatabaseDep, page: PageDep) -> PageOut[MemberImportOut]:
    with database.reading() as session:
        found = imports.list_imports(session, after=page.cursor, limit=page.limit)
    items = [MemberImportOut.of(row) for row in found.items]
    return PageOut[MemberImportOut](items=items, next_cursor=found.next_cursor)


@router.get("/{import_id}", responses=responses(404))
def get_import(database: DatabaseDep, import_id: ItemId) -> MemberImportOut:
    """An import and how far it is."""
    with database.reading() as session:
        return MemberImportOut.of(imports.get_import(session, import_id))


@router.post("/{import_id}/retry", status_code=202, responses=responses(404, 409))
def retry_import(database: DatabaseDep, background: BackgroundTasks, import_id: ItemId) -> MemberImportOut:
    """Try a failed import again; it goes on after the last rows that were imported."""
    stored = database.run(lambda s: imports.requeue_import(s, import_id))
    background.add_task(dispatch_import, database, import_id)
    return MemberImportOut.of(stored)


@router.get("/{import_id}/rejects", responses=responses(404), response_model=PageOut[ImportRejectOut])
def list_rejects(
    database: DatabaseDep,
    page: PageDep,
    import_id: ItemId,
    severity: Annotated[Severity | None, Query()] = None,
    as_format: Annotated[
        Literal["json", "csv"], Query(alias="format", description="csv: all of them in one file.")
    ] = "json",
) -> PageOut[ImportRejectOut] | StreamingResponse:
    """Rows that were left out, and cells that were, with the reason."""
    with database.reading() as session:
        imports.get_import(session, import_id)
        if as_format == "json":
            found = imports.list_rejects(
                session, import_id, after=page.cursor, limit=page.limit, severity=severity
            )
            return PageOut[ImportRejectOut].of(found)
    return StreamingResponse(
        _csv(database, import_id, severity),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="import-{import_id}-rejects.csv"'},
    )


def _store(
    database: Database,
    path: Path,
    filename: str,
    plan: ColumnMapping,
    *,
    list_id: int | None,
    list_name: str | None,
) -> MemberImport:
    """One transaction: an import whose file is not all there is never seen by anybody."""

    def work(session: Session) -> MemberImport:
        target = imports.get_target_list(session, list_id=list_id, name=list_name)
        stored = imports.insert_import(
            session, filename=filename, mapping=to_stored(plan), client_list_id=target
        )
        with path.open("rb") as file:
            ordinal = 0
            while piece := file.read(imports.CHUNK_BYTES):
                imports.append_chunk(session, stored, ordinal, piece)
                ordinal += 1
        return imports.get_import(session, stored.id)

    return database.run(work)


@contextmanager
def _saved(upload: UploadFile, limit: int) -> Iterator[Path]:
    """The uploaded file under a path for as long as the block runs, copied piece by piece."""
    with TemporaryDirectory(prefix="ics-upload-") as folder:
        path = Path(folder) / "upload"
        size = 0
        with path.open("wb") as file:
            while piece := upload.file.read(imports.CHUNK_BYTES):
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"the file is larger than {limit:,} bytes, the most that is taken")
                file.write(piece)
        yield path


def _name(upload: UploadFile) -> str:
    """The file's own name: a browser may send a path, and anybody may send control characters."""
    name = PurePath((upload.filename or "").replace("\\", "/")).name
    return "".join(character for character in name if character.isprintable())[:255] or "upload"


def _csv(database: Database, import_id: int, severity: Severity | None) -> Iterator[str]:
    yield BYTE_ORDER_MARK + csv_lines([_CSV_HEADER])
    after: int | None = 0
    while after is not None:
        with database.reading() as session:
            page = imports.list_rejects(session, import_id, after=after, limit=_CSV_PAGE, severity=severity)
        yield csv_lines(
            (row.row_number, row.severity, row.column_name, row.value, row.reason, row.message)
            for row in page.items
        )
        after = page.next_cursor
