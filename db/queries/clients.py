"""Clients, one at a time. Imports write them in bulk (`db/queries/upserts.py`)."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from db.errors import Conflict, Invalid, Merged, NotFound
from db.models import Client, ClientListMember, ClientMerge
from db.queries.consents import CONSENTS, ConsentOrigin, consents_of, log_changes
from db.queries.custom_fields import check_custom_fields
from db.queries.pages import Page, page_of
from db.states import Consent

MAX_CUSTOM_FIELDS = 100
UNKNOWN_ORIGIN = ConsentOrigin("unknown")


def get_client(session: Session, client_id: int) -> Client:
    """Raises NotFound, or Merged where it is another client now."""
    found = session.get(Client, client_id)
    if found is None:
        merge = session.get(ClientMerge, client_id)
        raise NotFound("client", client_id) if merge is None else Merged(client_id, merge.client_id)
    return found


def list_clients(
    session: Session,
    *,
    after: int,
    limit: int,
    email: str | None = None,
    phone: str | None = None,
    also: ColumnElement[bool] | None = None,
) -> Page[Client]:
    """Clients by id; with exactly this email or (E.164) phone, and of whom `also` is true."""
    query = select(Client)
    if email is not None:
        query = query.where(Client.email == email.lower())
    if phone is not None:
        query = query.where(Client.phone == phone)
    if also is not None:
        query = query.where(also)
    return page_of(session, query, Client.id, after=after, limit=limit)


def insert_client(
    session: Session, values: Mapping[str, Any], *, origin: ConsentOrigin = UNKNOWN_ORIGIN
) -> Client:
    """A new client; `values` are its columns. Custom fields that are None are left out. `origin` is where a consent comes from.

    Raises:
        Invalid: neither email nor phone, or a custom field that is not defined or of another kind.
        Conflict: the email, or the phone of a client without one, belongs to another client, who is named.
    """
    client = Client(**values)
    client.custom_fields = _laid_over({}, check_custom_fields(session, client.custom_fields or {}))
    _store(session, client, {})
    log_changes(session, client, dict.fromkeys(CONSENTS, Consent.UNKNOWN), origin)
    return client


def update_client(
    session: Session, client_id: int, values: Mapping[str, Any], *, origin: ConsentOrigin = UNKNOWN_ORIGIN
) -> Client:
    """Change the given columns; what the client is recognised by follows its addresses.

    Custom fields are laid over those that are there, and a None removes one (RFC 7396); everything else is replaced.

    Raises:
        NotFound, Invalid, Conflict: as for `insert_client`.
    """
    client = session.scalars(
        select(Client)
        .where(Client.id == client_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if client is None:
        get_client(session, client_id)
        raise NotFound("client", client_id)
    changes, before = dict(values), consents_of(client)
    if "custom_fields" in changes:
        given = check_custom_fields(session, changes["custom_fields"])
        changes["custom_fields"] = _laid_over(client.custom_fields, given)
    _store(session, client, changes)
    log_changes(session, client, before, origin)
    return client


def delete_client(session: Session, client_id: int) -> None:
    """Remove the client and its memberships; the ledger keeps what was sent, and suppressions stay."""
    get_client(session, client_id)
    session.execute(delete(ClientListMember).where(ClientListMember.client_id == client_id))
    session.execute(delete(Client).where(Client.id == client_id))


def _laid_over(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = {name: value for name, value in {**stored, **given}.items() if value is not None}
    if len(merged) > MAX_CUSTOM_FIELDS:
        raise Invalid("custom_fields", f"a client has at most {MAX_CUSTOM_FIELDS} custom fields")
    return merged


def _store(session: Session, client: Client, changes: Mapping[str, Any]) -> None:
    """Apply the changes and write the client. Behind a savepoint: a conflict leaves the session usable."""
    email, phone = (changes.get(name, getattr(client, name)) for name in ("email", "phone"))
    identity = email or phone
    if not identity:
        raise Invalid("email", "a client needs an email or a phone")
    try:
        with session.begin_nested():
            for name, value in changes.items():
                setattr(client, name, value)
            client.identity_key = identity
            session.add(client)
            session.flush()
    except IntegrityError as error:
        field = "email" if email else "phone"
        owner = session.scalars(select(Client.id).where(Client.identity_key == identity)).one_or_none()
        raise Conflict(f"client {owner} has this {field} already", field) from error
