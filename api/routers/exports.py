"""Clients as files: all of them, those of a list, or those that a rule describes."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask

from api.dependencies import DatabaseDep, ItemId
from api.errors import bad_parameter, responses
from api.schemas.exports import ExportFormat, ExportIn
from db.engine import Database
from db.errors import Invalid
from db.queries.choices import Choice
from db.queries.client_lists import get_client_list
from db.queries.custom_fields import list_field_types
from tasks.exports.columns import Columns, choose_columns
from tasks.exports.reading import open_source
from tasks.exports.writing import csv_pieces, write_workbook

router = APIRouter(tags=["exports"])

_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, _XLSX: {}}, "description": "The file"}
}
Format = Annotated[ExportFormat, Query(alias="format")]
ColumnNames = Annotated[
    str | None,
    Query(
        alias="columns",
        max_length=20_000,
        description="Names separated by commas, such as email,first_name,custom.city,created_at; all that can be "
        "imported again when left out.",
    ),
]


@router.get("/api/clients/export", response_class=StreamingResponse, response_model=None, responses=_FILE)
def export_clients(
    database: DatabaseDep, as_format: Format = ExportFormat.CSV, columns: ColumnNames = None
) -> StreamingResponse | FileResponse:
    """All clients as a file that can be imported again. A download that breaks off is an error: it is not complete."""
    return _export(database, Choice(), as_format, _query_columns(database, columns), "clients")


@router.post(
    "/api/clients/export",
    response_class=StreamingResponse,
    response_model=None,
    responses={**_FILE, **responses(404)},
)
def export_chosen_clients(database: DatabaseDep, body: ExportIn) -> StreamingResponse | FileResponse:
    """The clients that a segment rule describes now, as a file."""
    if body.rule is not None and body.client_list_id is not None:
        raise Invalid("rule", "give a rule or a client_list_id, not both")
    columns = _columns(database, body.columns)
    return _export(database, Choice(body.client_list_id, body.rule), body.format, columns, "clients")


@router.get(
    "/api/client-lists/{list_id}/export",
    response_class=StreamingResponse,
    response_model=None,
    responses={**_FILE, **responses(404)},
)
def export_client_list(
    database: DatabaseDep,
    list_id: ItemId,
    as_format: Format = ExportFormat.CSV,
    columns: ColumnNames = None,
) -> StreamingResponse | FileResponse:
    """The members of a list, static or dynamic, as a file."""
    with database.reading() as session:
        name = get_client_list(session, list_id).name
    return _export(
        database, Choice(list_id), as_format, _query_columns(database, columns), f"list-{list_id}-{name}"
    )


def _export(
    database: Database, choice: Choice, as_format: ExportFormat, columns: Columns, what: str
) -> StreamingResponse | FileResponse:
    """Whatever can be refused is refused before the first byte of an answer."""
    source = open_source(database, choice)
    filename = f"{_slug(what)}-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.{as_format}"
    if as_format is ExportFormat.CSV:
        return StreamingResponse(
            csv_pieces(database, source, columns),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{filename}"'},
        )
    folder = TemporaryDirectory(prefix="ics-export-")
    path = Path(folder.name) / "export.xlsx"
    try:
        write_workbook(path, database, source, columns)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(path, filename=filename, media_type=_XLSX, background=BackgroundTask(folder.cleanup))


def _query_columns(database: Database, names: str | None) -> Columns:
    asked = None if names is None else [name.strip() for name in names.split(",")]
    try:
        return _columns(database, asked)
    except Invalid as error:
        raise bad_parameter(error.field, error.message) from error


def _columns(database: Database, asked: Sequence[str] | None) -> Columns:
    with database.reading() as session:
        return choose_columns(asked, list_field_types(session))


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:80]
