"""Everything that is stored about one person, section by section, in pieces that stay small."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from db.models import (
    Client,
    ClientList,
    ClientListMember,
    ClientMerge,
    ConsentChange,
    Event,
    ExecutionStep,
    Flow,
    FlowExecution,
    FormerMember,
    ImportChange,
    ImportReject,
    MemberImport,
    Message,
    SignUp,
    Unsubscribed,
)
from db.queries.clients import get_client
from db.queries.erasure import Person
from db.states import Channel, Feedback

PIECE_ROWS = 1_000
Row = dict[str, Any]


def _as_sum(key: InstrumentedAttribute[int]) -> ColumnElement[int]:
    """As a sum it offers no index: an optimizer that reads in the order of the key passes everybody's rows."""
    return key + 0


@dataclass(frozen=True)
class Section:
    """Rows of one kind by their `key`. `shown` turns a row into what is exported of it."""

    name: str
    query: Select[Any]
    key: ColumnElement[int] | InstrumentedAttribute[int]
    shown: Callable[[Mapping[str, Any]], Row] = dict


def get_profile(session: Session, client_id: int) -> Row:
    """Every column of the client; raises NotFound."""
    client = get_client(session, client_id)
    return {column.key: getattr(client, column.key) for column in Client.__table__.columns}


def sections_of(
    person: Person,
    *,
    hashes: Mapping[Channel, Sequence[str]],
    message_ids: Sequence[int],
    reject_ids: Sequence[int],
) -> list[Section]:
    """What there may be beside the profile. `hashes` are those of the addresses, `reject_ids` the rows of files, left out by
    imports, that name the person."""
    return [
        _section("consents", ConsentChange, ConsentChange.client_id == person.client_id),
        _lists(person),
        _former_lists(person),
        _messages(person),
        _events(message_ids),
        _events_of_nobody(person),
        Section(
            "suppressions",
            _columns(Unsubscribed).where(_suppressed(person, hashes)),
            Unsubscribed.id,
        ),
        _sign_ups(person),
        _imports(person),
        _import_changes(person),
        _section("import_rejects", ImportReject, ImportReject.id.in_(reject_ids)),
        Section(
            "merged_clients",
            _columns(ClientMerge).where(ClientMerge.client_id == person.client_id),
            ClientMerge.merged_id,
        ),
    ]


def list_message_ids(session: Session, person: Person) -> Sequence[int]:
    return session.scalars(select(Message.id).where(_is_theirs(person))).all()


def read_section(session: Session, section: Section, *, after: int) -> tuple[list[Row], int | None]:
    """The next rows of a section, and where to go on after them; None at the end."""
    query = section.query.add_columns(section.key.label("_key")).where(section.key > after)
    rows = session.execute(query.order_by(section.key).limit(PIECE_ROWS)).mappings().all()
    shown = [section.shown({name: value for name, value in row.items() if name != "_key"}) for row in rows]
    return shown, rows[-1]["_key"] if len(rows) == PIECE_ROWS else None


def _section(name: str, model: Any, condition: ColumnElement[bool]) -> Section:
    return Section(name, _columns(model).where(condition), model.id)


def _columns(model: Any) -> Select[Any]:
    return select(*model.__table__.columns)


def _lists(person: Person) -> Section:
    columns = (ClientList.id, ClientList.name, ClientListMember.added_at, ClientListMember.import_id)
    query = select(*columns).join(ClientListMember, ClientListMember.client_list_id == ClientList.id)
    return Section("lists", query.where(ClientListMember.client_id == person.client_id), ClientList.id)


def _former_lists(person: Person) -> Section:
    query = (
        _columns(FormerMember)
        .add_columns(ClientList.name.label("list_name"))
        .outerjoin(ClientList, ClientList.id == FormerMember.client_list_id)
    )
    return Section("former_lists", query.where(FormerMember.client_id == person.client_id), FormerMember.id)


def _messages(person: Person) -> Section:
    columns = (
        Message.id,
        Message.client_id,
        Flow.name.label("flow"),
        FlowExecution.uid.label("execution"),
        FlowExecution.started_at.label("execution_started_at"),
        ExecutionStep.position.label("step"),
        Message.channel,
        Message.address,
        Message.state,
        Message.reason,
        Message.feedback,
        Message.parts,
        Message.provider_message_id,
    )
    query = (
        select(*columns)
        .join(FlowExecution, FlowExecution.id == Message.execution_id)
        .join(Flow, Flow.id == FlowExecution.flow_id)
        .outerjoin(ExecutionStep, ExecutionStep.id == Message.step_id)
    )
    return Section("messages", query.where(_is_theirs(person)), _as_sum(Message.id), _with_words)


def _events(message_ids: Sequence[int]) -> Section:
    """What providers reported about their messages, replies among it."""
    query = _event_columns().where(Event.message_id.in_(message_ids))
    return Section("events", query, _as_sum(Event.id))


def _events_of_nobody(person: Person) -> Section:
    """What providers reported about none of our messages, but with their address."""
    addresses = [address for group in person.addresses.values() for address in group]
    query = _event_columns().where(Event.message_id.is_(None), Event.address.in_(addresses))
    return Section("events_without_message", query, _as_sum(Event.id))


def _sign_ups(person: Person) -> Section:
    """Forms on pages that were filled in with their address, or that made them a client."""
    emails = list(person.addresses.get(Channel.EMAIL, ()))
    theirs = SignUp.email.in_(emails) | SignUp.client_id.in_(person.ids)
    return _section("sign_ups", SignUp, theirs)


def _event_columns() -> Select[Any]:
    ours = ("fingerprint", "delivery_id")
    return select(*(column for column in Event.__table__.columns if column.key not in ours))


def _imports(person: Person) -> Section:
    """Imports that created the client, put it on a list, or changed it."""
    own = person.client_id
    ids = (
        select(Client.import_id)
        .where(Client.id == own)
        .union(
            select(ClientListMember.import_id).where(ClientListMember.client_id == own),
            select(ImportChange.import_id).where(ImportChange.client_id == own),
        )
    )
    columns = (MemberImport.id, MemberImport.filename, MemberImport.created_by, MemberImport.created_at)
    return Section("imports", select(*columns).where(MemberImport.id.in_(ids)), MemberImport.id)


def _import_changes(person: Person) -> Section:
    columns = (ImportChange.import_id, ImportChange.before)
    query = select(*columns).where(ImportChange.client_id == person.client_id)
    return Section("import_changes", query, ImportChange.import_id)


def _is_theirs(person: Person) -> ColumnElement[bool]:
    return Message.client_id.in_(person.ids)


def _suppressed(person: Person, hashes: Mapping[Channel, Sequence[str]]) -> ColumnElement[bool]:
    names = {
        channel: [*person.addresses[channel], *person.shared[channel], *hashes[channel]]
        for channel in Channel
    }
    return or_(
        *(
            (Unsubscribed.channel == channel) & Unsubscribed.address.in_(stored)
            for channel, stored in names.items()
        )
    )


def _with_words(row: Mapping[str, Any]) -> Row:
    return {**row, "feedback": Feedback(row["feedback"]).words}
