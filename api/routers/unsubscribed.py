"""Suppressed addresses: see, add and lift them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Query, UploadFile
from fastapi.responses import StreamingResponse

from api.dependencies import CurrentToken, DatabaseDep, ItemId, OptionalId, PageDep, SettingsDep
from api.errors import bad_parameter, responses
from api.schemas.base import MAX_ID, PageOut
from api.schemas.suppressions import (
    ImportedSuppressionsOut,
    SuppressionChangeOut,
    SuppressionIn,
    SuppressionOut,
)
from db.engine import Session
from db.errors import Invalid, NotFound
from db.models import ApiToken, Unsubscribed
from db.models.suppressions import EVERYWHERE
from db.queries import flows, suppressions
from db.queries.approvals import insert_approval
from db.queries.suppressions import SuppressionChange
from db.states import Channel, SuppressionReason
from tasks.addresses import AddressInvalid, normalise_address
from tasks.erasure import by_erased_address
from tasks.feedback.suppression_files import export_suppressions, import_suppressions
from tasks.signing import secret_keys

router = APIRouter(prefix="/api/unsubscribed", tags=["unsubscribed"])
_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}, "description": "The file"}}


@router.get("")
def list_suppressions(
    database: DatabaseDep,
    settings: SettingsDep,
    page: PageDep,
    channel: Annotated[Channel | None, Query()] = None,
    address: Annotated[
        str | None, Query(max_length=320, description="An email, or a phone (+ as %2B).")
    ] = None,
    reason: Annotated[SuppressionReason | None, Query()] = None,
    flow_id: OptionalId = None,
    active: Annotated[bool, Query(description="false: those that were lifted.")] = True,
) -> PageOut[SuppressionOut]:
    """Suppressions that hold now, of all flows."""
    addresses = None
    if address is not None:
        channel = channel or (Channel.EMAIL if "@" in address else Channel.SMS)
        try:
            found = normalise_address(channel, address, settings.default_region)
        except AddressInvalid as error:
            raise bad_parameter("address", str(error)) from error
        # Of somebody who was erased only the hash is known.
        addresses = [found, *by_erased_address(secret_keys(settings), channel, [found])]
    with database.reading() as session:
        return PageOut[SuppressionOut].of(
            suppressions.list_suppressions(
                session,
                after=page.cursor,
                limit=page.limit,
                channel=channel,
                addresses=addresses,
                reason=reason,
                scope=flow_id,
                active=active,
            )
        )


@router.post("", status_code=201)
def suppress(
    database: DatabaseDep, settings: SettingsDep, token: CurrentToken, body: SuppressionIn
) -> SuppressionOut:
    """Suppress an address. Every batch that starts after the answer leaves it out. Saying it again changes nothing."""
    try:
        address = normalise_address(body.channel, body.address, settings.default_region)
    except AddressInvalid as error:
        raise Invalid("address", str(error)) from error
    wish = SuppressionChange(
        channel=body.channel,
        address=address,
        reason=SuppressionReason.MANUAL,
        effective_at=datetime.now(UTC),
        source=_source(token),
        scope=body.flow_id or EVERYWHERE,
        evidence=body.note,
    )

    def work(session: Session) -> SuppressionOut:
        if body.flow_id is not None:
            _check_flow(session, body.flow_id)
        suppressions.lock_gate(session)
        stored = suppressions.find_suppression(session, wish)
        if stored is None or not stored.active:
            change = replace(wish, effective_at=_after(stored))
            suppressions.apply_suppressions(session, [change])
        return SuppressionOut.model_validate(suppressions.find_suppression(session, wish))

    return database.run(work)


@router.get("/export", response_class=StreamingResponse, response_model=None, responses=_FILE)
def export_file(
    database: DatabaseDep,
    channel: Annotated[Channel | None, Query()] = None,
    reason: Annotated[SuppressionReason | None, Query()] = None,
    active: Annotated[bool, Query(description="false: those that were lifted.")] = True,
) -> StreamingResponse:
    """Suppressions as CSV. The route of the import takes the file again."""
    filename = f"unsubscribed-{datetime.now(UTC):%Y-%m-%d-%H%M%S}.csv"
    return StreamingResponse(
        export_suppressions(database, channel=channel, reason=reason, active=active),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


@router.post("/import", responses=responses(413))
def import_file(
    database: DatabaseDep,
    settings: SettingsDep,
    token: CurrentToken,
    file: Annotated[UploadFile, File(description="CSV with a column address, email or phone.")],
    flow_id: Annotated[int | None, Form(ge=1, le=MAX_ID)] = None,
) -> ImportedSuppressionsOut:
    """Suppress all addresses of a file, up to 100,000 rows; rows that are none are reported, and hold up no other."""
    if flow_id is not None:
        with database.reading() as session:
            _check_flow(session, flow_id)
    found = import_suppressions(
        database,
        file.file.read(),
        source=_source(token),
        region=settings.default_region,
        flow_id=flow_id,
    )
    return ImportedSuppressionsOut.model_validate(found)


@router.get("/{suppression_id}/changes", responses=responses(404))
def list_changes(
    database: DatabaseDep, page: PageDep, suppression_id: ItemId
) -> PageOut[SuppressionChangeOut]:
    """Everything that happened to a suppression, oldest first. Nothing is ever changed here."""
    with database.reading() as session:
        return PageOut[SuppressionChangeOut].of(
            suppressions.list_changes(session, suppression_id, after=page.cursor, limit=page.limit)
        )


@router.delete("/{suppression_id}", status_code=204, responses=responses(404))
def lift(database: DatabaseDep, token: CurrentToken, suppression_id: ItemId) -> None:
    """Lift one suppression; the row stays, with who lifted it and when. Others of the same address hold on.

    An address that was erased may be created and imported again afterwards; that this was allowed is kept in `approvals`.
    """

    def work(session: Session) -> None:
        suppressions.lock_gate(session)
        found = suppressions.get_suppression(session, suppression_id)
        change = SuppressionChange(
            channel=found.channel,
            address=found.address,
            reason=found.reason,
            effective_at=_after(found),
            source=_source(token),
            active=False,
            scope=found.scope,
            evidence=found.evidence,
            is_said=False,  # By us, and not by the owner of the address.
        )
        is_lifted = found.reason is SuppressionReason.ERASED and found.active
        suppressions.apply_suppressions(session, [change])
        if is_lifted:
            details = {"suppression_id": found.id, "token_id": token.id}
            insert_approval(
                session, "lift_erasure", approved_by=token.name, execution_id=None, details=details
            )

    database.run(work)


def _after(stored: Unsubscribed | None) -> datetime:
    """Now, or just after what is stored where that comes from a clock ahead of ours: the later change wins."""
    now = datetime.now(UTC)
    return now if stored is None else max(now, stored.effective_at + timedelta(microseconds=1))


def _source(token: ApiToken) -> str:
    return f"token {token.name}"[:40]


def _check_flow(session: Session, flow_id: int) -> None:
    try:
        flows.get_flow(session, flow_id)
    except NotFound as error:
        raise Invalid("flow_id", str(error)) from error
