"""Clients: create, read, change, delete, and what each was sent."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import CurrentToken, DatabaseDep, ItemId, PageDep, PageParams, SettingsDep
from api.errors import bad_parameter, responses
from api.schemas.base import PageOut
from api.schemas.clients import ClientIn, ClientOut, ClientPatch
from api.schemas.flow_executions import MessageOut
from db.engine import Session
from db.errors import Invalid
from db.models import ApiToken, Client
from db.queries import clients
from db.queries.client_search import Condition, by_email, by_name, by_phone, condition_on, search_clients
from db.queries.consents import ConsentOrigin
from db.queries.erasure import refuse_erased
from db.queries.pages import Page
from db.queries.timelines import list_client_messages as list_timeline
from db.states import Channel
from settings import Settings
from tasks.addresses import AddressInvalid, normalise_phone
from tasks.erasure import by_erased_address
from tasks.searching import SearchKind, read_search
from tasks.signing import secret_keys

router = APIRouter(prefix="/api/clients", tags=["clients"])


@router.post("", status_code=201, responses=responses(409))
def create_client(
    database: DatabaseDep, settings: SettingsDep, token: CurrentToken, body: ClientIn
) -> ClientOut:
    """Create a client. 409 names the client who has the email already (or the phone, without an email)."""
    values = body.model_dump(exclude={"consent"})
    hashes, origin = _hashes(values, settings), _origin(body, token)

    def work(session: Session) -> ClientOut:
        refuse_erased(session, hashes)
        return ClientOut.model_validate(clients.insert_client(session, values, origin=origin))

    return database.run(work)


@router.get("")
def list_clients(
    database: DatabaseDep,
    settings: SettingsDep,
    page: PageDep,
    q: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=254,
            description="Beginning of an email, a phone or a name (either, or both).",
        ),
    ] = None,
    email: Annotated[str | None, Query(max_length=254, description="The whole email.")] = None,
    phone: Annotated[str | None, Query(max_length=40, description="The whole phone; write + as %2B.")] = None,
    tag: Annotated[str | None, Query(min_length=1, max_length=50)] = None,
    field: Annotated[
        str | None, Query(max_length=64, description="Key of a custom field, with `value`.")
    ] = None,
    value: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
) -> PageOut[ClientOut]:
    """Clients in the order they were created; with `q`, in the order of what it found them by.

    All that is given has to be true of a client. `tag` and `field` alone look through the clients one after the other: for what
    few of a million have, that takes a second. A dynamic list counts and keeps such a choice.
    """
    if q and (email is not None or phone is not None):
        raise bad_parameter("q", "give either q, or email and phone")
    if phone is not None:
        phone = _phone(phone, settings.default_region)
    with database.reading() as session:
        also = _condition(session, tag, field, value)
        if q and q.strip():
            return PageOut[ClientOut].of(_search(session, q, page, settings.default_region, also))
        return PageOut[ClientOut].of(
            clients.list_clients(
                session, after=page.cursor, limit=page.limit, email=email, phone=phone, also=also
            )
        )


@router.get("/{client_id}", responses=responses(404))
def get_client(database: DatabaseDep, client_id: ItemId) -> ClientOut:
    with database.reading() as session:
        return ClientOut.model_validate(clients.get_client(session, client_id))


@router.patch("/{client_id}", responses=responses(404, 409))
def update_client(
    database: DatabaseDep, settings: SettingsDep, token: CurrentToken, client_id: ItemId, body: ClientPatch
) -> ClientOut:
    """Change the fields that are given; custom fields are merged, and null removes one."""
    values = body.model_dump(exclude_unset=True, exclude={"consent"})
    hashes, origin = _hashes(values, settings), _origin(body, token)

    def work(session: Session) -> ClientOut:
        refuse_erased(session, hashes)
        return ClientOut.model_validate(clients.update_client(session, client_id, values, origin=origin))

    return database.run(work)


@router.delete("/{client_id}", status_code=204, responses=responses(404))
def delete_client(database: DatabaseDep, client_id: ItemId) -> None:
    """Delete a client. The ledger keeps what was sent."""
    database.run(lambda s: clients.delete_client(s, client_id))


@router.get("/{client_id}/messages", responses=responses(404))
def list_client_messages(database: DatabaseDep, client_id: ItemId, page: PageDep) -> PageOut[MessageOut]:
    """Every message that was, or was not, sent to the client, and why; newest first.

    The messages of a client who was deleted can still be read.
    """
    with database.reading() as session:
        try:
            found = list_timeline(session, client_id, after=page.cursor, limit=page.limit)
        except Invalid as error:
            raise bad_parameter(error.field, error.message) from error
    items = [
        MessageOut.of(item.message, uid=item.uid, flow_id=item.flow_id, step=item.step)
        for item in found.items
    ]
    return PageOut[MessageOut](items=items, next_cursor=found.next_cursor)


def _hashes(values: Mapping[str, Any], settings: Settings) -> dict[Channel, list[str]]:
    """What may stand in the place of the addresses if they were erased."""
    keys = secret_keys(settings)
    addresses = {Channel.EMAIL: values.get("email"), Channel.SMS: values.get("phone")}
    return {
        channel: list(by_erased_address(keys, channel, [found]))
        for channel, found in addresses.items()
        if found
    }


def _origin(body: ClientIn, token: ApiToken) -> ConsentOrigin:
    given = body.consent
    if given is None:
        return ConsentOrigin(f"token {token.name}")
    return ConsentOrigin(given.source, given.wording, given.given_at)


def _phone(text: str, region: str) -> str:
    try:
        return normalise_phone(text, region)
    except AddressInvalid as error:
        raise bad_parameter("phone", str(error)) from error


def _condition(session: Session, tag: str | None, field: str | None, value: str | None) -> Condition | None:
    try:
        return condition_on(session, tag=tag, field=field, value=value)
    except Invalid as error:
        raise bad_parameter(error.field, error.message) from error


_WAYS = {SearchKind.EMAIL: by_email, SearchKind.PHONE: by_phone, SearchKind.NAME: by_name}


def _search(
    session: Session, text: str, page: PageParams, region: str, also: Condition | None
) -> Page[Client]:
    search = read_search(text, region=region)
    ways = [*_WAYS[search.kind](search.prefix)]
    if search.kind is SearchKind.NAME:
        ways = [*by_email(search.prefix.lower()), *ways]
    try:
        return search_clients(session, ways, after=page.cursor, limit=page.limit, also=also)
    except Invalid as error:
        raise bad_parameter(error.field, error.message) from error
