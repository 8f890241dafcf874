"""Exports of clients."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from api.schemas.base import Id, Input, Text


class ExportFormat(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"


class ExportIn(Input):
    """Whom and what to export: the clients that a segment `rule` describes, or the members of a list, or all."""

    rule: dict[str, Any] | None = None
    client_list_id: Id | None = None
    format: ExportFormat = ExportFormat.CSV
    columns: Annotated[
        list[Text] | None,
        Field(max_length=200, examples=[["email", "first_name", "custom.city"]]),
    ] = None
