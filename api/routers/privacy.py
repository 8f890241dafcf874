"""One person's data, to hand out and to forget."""

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.dependencies import CurrentToken, DatabaseDep, ItemId, SettingsDep
from api.errors import responses
from api.schemas.privacy import ErasureIn, ErasureOut
from tasks.privacy.erasing import ErasureWish, erase_person
from tasks.privacy.person_export import export_person
from tasks.signing import secret_key, secret_keys

router = APIRouter(prefix="/api/clients", tags=["privacy"])


@router.get("/{client_id}/export", response_model=None, responses=responses(404))
def export_client(database: DatabaseDep, settings: SettingsDep, client_id: ItemId) -> StreamingResponse:
    """Everything that is stored about the client, as one JSON document: profile, consents, lists, messages, events, replies,
    suppressions, imports."""
    return StreamingResponse(
        export_person(database, client_id, keys=secret_keys(settings)),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="client-{client_id}.json"'},
    )


@router.post("/{client_id}/erase", responses=responses(404, 409))
def erase_client(
    database: DatabaseDep, settings: SettingsDep, token: CurrentToken, client_id: ItemId, body: ErasureIn
) -> ErasureOut:
    """Forget the client for good. What stays are counts, and hashes by which an import knows the addresses again."""
    wish = ErasureWish(client_id, body.confirm, token.name, token.id, body.delete_import_files)
    return ErasureOut.of(erase_person(database, wish, key=secret_key(settings)))
