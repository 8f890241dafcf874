"""Member imports: a file on its way to becoming clients."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, CreatedAt, Id, UpdatedAt, table
from db.models.clients import Client
from db.states import ImportPolicy, ImportState
from db.types import BigId, JsonDoc, UTCDateTime, blob, exact, word


class MemberImport(Base):
    """`done_rows` rows of the file are committed: an import that was cut goes on after them.

    When it is completed, total_rows = created + updated + unchanged + skipped + duplicate + rejected. A `dry_run` counts the
    same, and changes no client. `new_fields` are the custom fields that it defined, `undone_count` the clients that its
    undoing has taken back so far; `undo_position` is None until that begins, and then the last of the clients it created that
    was looked at. `layout` is how the file is written (tasks.imports.layout), and names its columns when the file is gone.
    `list_name` is the list that was asked for by name; a dry run does not make it.

    `attempt` counts the Prefect runs that were asked for, `idle_runs` those since the last chunk was committed.
    """

    __tablename__ = table("member_imports")

    id: Mapped[Id]
    uid: Mapped[str] = mapped_column(exact(12), unique=True)
    filename: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigId)
    client_list_id: Mapped[int | None] = mapped_column(BigId)
    mapping: Mapped[dict[str, Any]] = mapped_column(JsonDoc)
    policy: Mapped[ImportPolicy] = mapped_column(word(ImportPolicy), default=ImportPolicy.UPDATE)
    dry_run: Mapped[bool] = mapped_column(default=False)
    created_by: Mapped[str] = mapped_column(String(100), default="")
    new_fields: Mapped[list[str] | None] = mapped_column(JsonDoc)
    list_name: Mapped[str | None] = mapped_column(String(150))
    layout: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)
    state: Mapped[ImportState] = mapped_column(word(ImportState), default=ImportState.QUEUED)
    error: Mapped[str | None] = mapped_column(Text)
    total_rows: Mapped[int | None] = mapped_column(Integer)
    done_rows: Mapped[int] = mapped_column(Integer, default=0)
    created_count: Mapped[int] = mapped_column(Integer, default=0)
    updated_count: Mapped[int] = mapped_column(Integer, default=0)
    unchanged_count: Mapped[int] = mapped_column(Integer, default=0)
    skipped_count: Mapped[int] = mapped_column(Integer, default=0)
    duplicate_count: Mapped[int] = mapped_column(Integer, default=0)
    rejected_count: Mapped[int] = mapped_column(Integer, default=0)
    warning_count: Mapped[int] = mapped_column(Integer, default=0)
    undone_count: Mapped[int] = mapped_column(Integer, default=0)
    undo_position: Mapped[int | None] = mapped_column(BigId)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    idle_runs: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    prefect_flow_run_id: Mapped[str | None] = mapped_column(exact(36))
    dispatched_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    heartbeat_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
    finished_at: Mapped[datetime | None] = mapped_column(UTCDateTime)

    __table_args__ = (Index(None, "state", "id"),)


class MemberImportChunk(Base):
    """A piece of the uploaded file: kept in the database, so that any worker on any machine can read it."""

    __tablename__ = table("member_import_chunks")

    import_id: Mapped[int] = mapped_column(
        ForeignKey(MemberImport.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    ordinal: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(blob(2**24 - 1))


class ImportReject(Base):
    """A row that was left out, or a cell that was (`severity` warning: the row itself was kept).

    `cells` are all cells of a row that was left out, in the order of the file's columns, so that it can be corrected.
    """

    __tablename__ = table("member_import_rejects")

    id: Mapped[Id]
    import_id: Mapped[int] = mapped_column(ForeignKey(MemberImport.id, ondelete="CASCADE"), index=True)
    severity: Mapped[str] = mapped_column(String(8))
    row_number: Mapped[int] = mapped_column(Integer)
    column_name: Mapped[str] = mapped_column(String(150))
    value: Mapped[str] = mapped_column(String(100))
    reason: Mapped[str] = mapped_column(String(40))
    message: Mapped[str] = mapped_column(String(300))
    cells: Mapped[list[str] | None] = mapped_column(JsonDoc)


class ImportChange(Base):
    """What an import changed of a client that was there: `before` holds the columns it wrote over, as they were, and `after`
    what it wrote. Of the custom fields both have only those that it wrote; None is one that was not there.

    Clients that it created have its id in `clients.import_id`.
    """

    __tablename__ = table("member_import_changes")

    import_id: Mapped[int] = mapped_column(
        ForeignKey(MemberImport.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    client_id: Mapped[int] = mapped_column(
        ForeignKey(Client.id, ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    before: Mapped[dict[str, Any]] = mapped_column(JsonDoc)
    after: Mapped[dict[str, Any] | None] = mapped_column(JsonDoc)

    __table_args__ = (Index(None, "client_id"),)


class ImportMapping(Base):
    """A mapping that people keep for the next file of the same kind."""

    __tablename__ = table("import_mappings")

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(exact(150), unique=True)
    mapping: Mapped[dict[str, Any]] = mapped_column(JsonDoc)
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[UpdatedAt]
