"""What is known of a client, and when it happened."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from api.schemas.base import Output
from api.schemas.contacts import Link, Said
from db.states import Channel, Consent, ListKind, MessageState


class _Entry(Output):
    at: datetime


class CreatedEntry(_Entry):
    """The client was made: by an import, or by hand (null)."""

    kind: Literal["created"]
    import_id: int | None


class ImportEntry(_Entry):
    """An import changed the client."""

    kind: Literal["import_changed"]
    import_id: int


class JoinedEntry(_Entry):
    """The client was put on a static list."""

    kind: Literal["list_joined"]
    client_list_id: int
    name: str | None
    import_id: int | None


class LeftEntry(_Entry):
    """The client was taken off a static list. The name is null when the list is gone."""

    kind: Literal["list_left"]
    client_list_id: int
    name: str | None
    removed_by: str


class ConsentEntry(_Entry):
    """What the client said about being written to."""

    kind: Literal["consent"]
    channel: Channel
    consent: Consent
    source: str
    wording: str | None


class MergedEntry(_Entry):
    """Another client, `client_id`, was merged into this one."""

    kind: Literal["merged"]
    client_id: int
    merged_by: str


class MessageEntry(_Entry):
    """A message to the client, or why there was none. `at` is when its execution began."""

    kind: Literal["message"]
    message_id: int
    execution_id: int
    flow_id: int
    step: int
    channel: Channel
    state: MessageState
    reason: str | None
    feedback: list[str]


class EventEntry(_Entry):
    """What a provider reported: delivered, open, click, bounce, reply, ..."""

    kind: Literal["event"]
    event: str
    message_id: int | None
    url: Link
    classification: str | None
    reason: Said


TimelineEntry: TypeAlias = Annotated[
    CreatedEntry
    | ImportEntry
    | JoinedEntry
    | LeftEntry
    | ConsentEntry
    | MergedEntry
    | MessageEntry
    | EventEntry,
    Field(discriminator="kind"),
]


class TimelineOut(Output):
    """One page of a timeline, newest first."""

    items: list[TimelineEntry]
    next_cursor: str | None


class ConsentOut(Output):
    """A line of the log of consents."""

    id: int
    channel: Channel
    consent: Consent
    given_at: datetime
    source: str
    wording: str | None


class MembershipOut(Output):
    """A list that the client is on. `added_at` and `import_id` are those of static lists."""

    client_list_id: int
    name: str
    kind: ListKind
    added_at: datetime | None
    import_id: int | None


class MembershipsOut(Output):
    """All of them on one page. `unasked` is how many dynamic lists there are beyond the first 100, which were not asked."""

    items: list[MembershipOut]
    unasked: int
    next_cursor: None = None
