"""Erasure of one person (GDPR, article 17): everything that names them goes, and the counts stay true."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from db.engine import Database, Session
from db.errors import Invalid
from db.models import WebhookDelivery
from db.queries import erasure, traces
from db.queries.clients import get_client
from db.queries.erasure import Erased, Person
from db.queries.suppressions import lock_gate
from db.states import Channel, InboxState
from tasks.erasure import by_erased_address
from tasks.feedback.apply import apply_deliveries
from tasks.feedback.sources import Source, parse
from tasks.privacy.redaction import RawWebhook, without
from tasks.privacy.traces import Traces, traces_of
from tasks.providers.events import BadEvent, ProviderEvent

# Webhooks are numbered when they are stored and seen when they are committed: a later one may be seen first.
_OVERLAP = 1000


@dataclass(frozen=True)
class ErasureWish:
    """Whom to erase, and who wants it. `confirm` is the client's email, phone or id: a slip of a digit erases nobody."""

    client_id: int
    confirm: str
    approved_by: str
    token_id: int
    delete_import_files: bool = False


@dataclass(frozen=True)
class Done:
    """What was erased, and the row of `approvals` that says who wanted it."""

    erased: Erased
    approval_id: int


def erase_person(database: Database, wish: ErasureWish, *, key: bytes) -> Done:
    """Erase the client, those who were merged into it, and every trace of their addresses, in one transaction.

    Webhooks that name them and were not applied yet are applied before, so that the counts have them.

    Raises:
        NotFound: there is no such client (any more).
        Invalid: `confirm` names somebody else.
        Conflict: an import is on, or a file is stored that may name them.
    """
    with database.reading() as session:
        _check_confirm(session, wish)
        person = erasure.get_person(session, wish.client_id)
        found = traces_of(person.addresses)
        last = traces.last_delivery_id(session)
        deliveries = traces.list_delivery_ids(session, found.texts) if found.texts else []
    if deliveries:
        apply_deliveries(database, deliveries)
    return database.run(partial(_erase, wish=wish, key=key, known=deliveries, seen_until=last))


def _erase(session: Session, wish: ErasureWish, key: bytes, known: Sequence[int], seen_until: int) -> Done:
    traces.lock_deliveries(session, known)
    lock_gate(session)
    person = erasure.get_person(session, wish.client_id, lock=True)
    _check_confirm(session, wish)
    found = traces_of(person.addresses)
    files = erasure.refuse_while_importing(session, delete_files=wish.delete_import_files)
    webhooks = _redact(session, person, found, known, seen_until)
    messages, not_sent = erasure.forget_messages(session, person.ids)
    rejects = traces.list_rejects_naming(session, found.texts, found.digits, found.are_in_cell)
    traces.blank_rejects(session, rejects)
    erased = Erased(
        client_id=person.client_id,
        messages=len(messages),
        messages_not_sent=not_sent,
        events=erasure.forget_events(session, messages)
        + traces.delete_events_of_nobody(session, found.texts, found.are_in),
        webhooks=webhooks,
        import_rejects=len(rejects),
        import_files=files,
        suppressions=erasure.replace_suppressions(
            session, _hashes(key, person.addresses), source=f"token {wish.approved_by}"
        ),
        shared_addresses=sum(map(len, person.shared.values())),
        lists_naming_them=traces.forget_rules(session, found.texts, found.are_in),
    )
    traces.blank_words_of_providers(session, person.ids, found.texts, found.are_in)
    erasure.delete_person(session, person)
    approval_id = erasure.insert_erasure(
        session, erased, person, approved_by=wish.approved_by, token_id=wish.token_id
    )
    return Done(erased, approval_id)


def _check_confirm(session: Session, wish: ErasureWish) -> None:
    client = get_client(session, wish.client_id)
    given = wish.confirm.strip().lower()
    if given not in (client.email, client.phone, str(client.id)):
        raise Invalid(
            "confirm", "write the client's email, phone or id, to make sure that it is the one you mean"
        )


def _hashes(key: bytes, addresses: Mapping[Channel, Iterable[str]]) -> dict[Channel, dict[str, str]]:
    return {channel: by_erased_address([key], channel, sorted(group)) for channel, group in addresses.items()}


def _redact(session: Session, person: Person, found: Traces, known: Sequence[int], seen_until: int) -> int:
    """Take their events out of the raw webhooks. What came since they were looked for and waits is left to the applier, which
    knows then who was erased."""
    if not found.texts:
        return 0
    later = traces.list_delivery_ids(session, found.texts, after=max(seen_until - _OVERLAP, 0))
    references = traces.list_references(session, person.ids)
    deliveries = traces.lock_deliveries(session, sorted({*known, *later}))
    count = 0
    for delivery in deliveries:
        if delivery.id not in known and delivery.state is InboxState.RECEIVED:
            continue
        left = without(Source(delivery.source), _raw(delivery), _positions(delivery, found, references))
        traces.rewrite_delivery(session, delivery.id, body=left.body, query=left.query)
        count += 1
    return count


def _positions(delivery: WebhookDelivery, found: Traces, references: set[str]) -> list[int]:
    events = parse(
        Source(delivery.source), delivery.body, delivery.content_type, delivery.query, delivery.received_at
    )
    return [position for position, event in enumerate(events) if _is_theirs(event, found, references)]


def _is_theirs(event: ProviderEvent | BadEvent, found: Traces, references: set[str]) -> bool:
    if isinstance(event, BadEvent):
        return found.are_in(event.raw)
    return event.reference in references or found.are_in(f"{event.address} {event.raw}")


def _raw(delivery: WebhookDelivery) -> RawWebhook:
    return RawWebhook(delivery.body, delivery.query)
