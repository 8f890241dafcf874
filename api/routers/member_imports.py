"""Member imports: upload a file, follow its way into clients, see what was left out, and take it back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Form, Query, UploadFile
from fastapi.responses import StreamingResponse

from api.dependencies import CurrentToken, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import TooLarge, responses
from api.rejects_csv import correctable_rows, flat_rows
from api.schemas.base import PageOut
from api.schemas.member_imports import (
    FileForm,
    ImportForm,
    ImportPreview,
    ImportRejectOut,
    ImportReportOut,
    MemberImportOut,
)
from db.engine import Database
from db.errors import Invalid
from db.queries import import_mappings, import_reports, import_undo, imports
from db.queries.imports import Severity
from tasks.imports.plan import Wishes, from_stored, parse_mapping, plan_import, preview_file
from tasks.imports.storing import Order, known_fields, store_dry_run, store_upload
from tasks.orchestration.sync import dispatch_import

router = APIRouter(prefix="/api/member-imports", tags=["member imports"])


@router.post("/preview", responses=responses(413))
def preview_import(
    database: DatabaseDep, settings: SettingsDep, form: Annotated[FileForm, Form()]
) -> ImportPreview:
    """How a file would be read: its writing, columns, a suggested mapping, its first rows and their problems."""
    wishes = _wishes(database, form)
    with database.reading() as session:
        fields = known_fields(session)
    with _saved(form.file, settings.max_import_bytes) as path:
        found = preview_file(path, wishes=wishes, fields=fields, default_region=settings.default_region)
    return ImportPreview.of(_name(form.file), found)


@router.post("", status_code=202, responses=responses(404, 409, 413))
def create_import(
    database: DatabaseDep,
    settings: SettingsDep,
    token: CurrentToken,
    background: BackgroundTasks,
    form: Annotated[ImportForm, Form()],
) -> MemberImportOut:
    """Store a file and import it. Once answered it is safe: should Prefect be away, it is imported later."""
    wishes = _wishes(database, form)
    with database.reading() as session:
        fields = known_fields(session)
    order = Order(
        filename=_name(form.file),
        client_list_id=form.client_list_id,
        list_name=form.list_name,
        policy=form.policy,
        dry_run=form.dry_run,
        created_by=token.name,
    )
    with _saved(form.file, settings.max_import_bytes) as path:
        plan = plan_import(path, wishes=wishes, fields=fields, default_region=settings.default_region)
        stored = database.run(lambda s: store_upload(s, path, plan, order))
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


@router.get("/{import_id}/report", responses=responses(404))
def get_report(database: DatabaseDep, import_id: ItemId) -> ImportReportOut:
    """An import in numbers: what became of its rows and, by reason and column, what was left out."""
    with database.reading() as session:
        found = imports.get_import(session, import_id)
        reasons = import_reports.list_reason_counts(session, import_id)
    return ImportReportOut.of(found, reasons)


@router.post("/{import_id}/retry", status_code=202, responses=responses(404, 409))
def retry_import(database: DatabaseDep, background: BackgroundTasks, import_id: ItemId) -> MemberImportOut:
    """Try a failed import again; it goes on after the last rows that were imported."""
    stored = database.run(lambda s: imports.requeue_import(s, import_id))
    background.add_task(dispatch_import, database, import_id)
    return MemberImportOut.of(stored)


@router.post("/{import_id}/undo", status_code=202, responses=responses(404, 409))
def undo_import(database: DatabaseDep, background: BackgroundTasks, import_id: ItemId) -> MemberImportOut:
    """Take back what an import did, but for what somebody has changed since. Asking twice is asking once."""
    stored = database.run(lambda s: import_undo.request_undo(s, import_id))
    background.add_task(dispatch_import, database, import_id)
    return MemberImportOut.of(stored)


@router.post("/{import_id}/import", status_code=202, responses=responses(404, 409))
def import_dry_run(
    database: DatabaseDep, token: CurrentToken, background: BackgroundTasks, import_id: ItemId
) -> MemberImportOut:
    """Import the file of a completed dry run, as a new import with the same mapping, policy and list."""
    stored = database.run(lambda s: store_dry_run(s, import_id, created_by=token.name))
    background.add_task(dispatch_import, database, stored.id)
    return MemberImportOut.of(stored)


@router.get(
    "/{import_id}/rejects",
    responses={200: {"content": {"text/csv": {}}}, **responses(404)},
    response_model=PageOut[ImportRejectOut],
)
def list_rejects(
    database: DatabaseDep,
    page: PageDep,
    import_id: ItemId,
    severity: Annotated[Severity | None, Query()] = None,
    as_format: Annotated[
        Literal["json", "csv"],
        Query(
            alias="format",
            description="csv: the rejected rows as a file that can be corrected and imported again; with "
            "severity=warning a table of the cells that were left out.",
        ),
    ] = "json",
) -> PageOut[ImportRejectOut] | StreamingResponse:
    """Rows that were left out, and cells that were, with the reason."""
    with database.reading() as session:
        found = imports.get_import(session, import_id)
        if as_format == "json":
            return PageOut[ImportRejectOut].of(
                imports.list_rejects(
                    session, import_id, after=page.cursor, limit=page.limit, severity=severity
                )
            )
    is_flat = severity is Severity.WARNING or found.layout is None
    lines = (
        flat_rows(database, import_id, severity)
        if is_flat
        else correctable_rows(database, import_id, found.layout or {})
    )
    name = f"import-{import_id}-{'warnings' if severity is Severity.WARNING else 'rejects'}.csv"
    return StreamingResponse(
        lines,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _wishes(database: Database, form: FileForm) -> Wishes:
    """What a person says about the file.

    Raises:
        Invalid: the mapping is given twice, is none, or there is none of the name.
    """
    if form.mapping is not None and form.mapping_name is not None:
        raise Invalid("mapping_name", "give a mapping or the name of a saved one, not both")
    mapping, name = None, None
    if form.mapping is not None:
        mapping = parse_mapping(form.mapping)
    elif form.mapping_name is not None:
        with database.reading() as session:
            saved = import_mappings.get_mapping_by_name(session, form.mapping_name)
        mapping, name = from_stored(saved.mapping), saved.name
    has_header = None if form.has_header is None else form.has_header == "true"
    return Wishes(mapping, name, form.sheet, has_header, form.default_region)


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
