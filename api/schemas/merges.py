"""Duplicates, and making them one client."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from api.schemas.base import Id, Input, Output
from api.schemas.contacts import Contact
from db.states import Consent
from tasks.merging.merge import MOST_CLIENTS, Merge


class DuplicateOut(Output):
    """Enough of a client to see whether it is the same person."""

    id: int
    email: Contact | None
    phone: Contact | None
    external_id: str | None
    first_name: str
    last_name: str
    created_at: datetime


class DuplicateGroupOut(Output):
    """`count` clients share the `value`; the first 20 are shown."""

    value: str
    count: int
    clients: list[DuplicateOut]


class MergeIn(Input):
    """Who is merged into the client, in the order in which they fill what it lacks."""

    client_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_CLIENTS)]
    preview: Annotated[bool, Field(description="Only show what would come out.")] = False


class MergedClientOut(Output):
    email: Contact | None
    phone: Contact | None
    external_id: str | None
    first_name: str
    last_name: str
    time_zone: str | None
    locale: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    email_consent: Consent
    sms_consent: Consent


class MergeOut(Output):
    """What came, or would come, out. `left_out_*` are addresses that nothing is sent to any more; note them if you need them.

    `messages_kept` stay under a merged client's id, as the client has one of the same step; `messages_not_sent` were still
    to be sent, and are excluded (`merged`), so that nobody is written to twice.
    """

    client_id: int
    client: MergedClientOut
    merged_ids: list[int]
    left_out_emails: list[str]
    left_out_phones: list[str]
    dropped_tags: int
    lists: int
    messages_moved: int
    messages_kept: int
    messages_not_sent: int
    preview: bool
    approval_id: int | None

    @classmethod
    def of(cls, client_id: int, merged_ids: list[int], merge: Merge) -> Self:
        profile = merge.profile
        return cls(
            client_id=client_id,
            client=MergedClientOut.model_validate(profile.values),
            merged_ids=merged_ids,
            left_out_emails=list(profile.emails),
            left_out_phones=list(profile.phones),
            dropped_tags=profile.dropped_tags,
            lists=merge.lists,
            messages_moved=merge.messages_moved,
            messages_kept=merge.messages_kept,
            messages_not_sent=merge.messages_not_sent,
            preview=merge.approval_id is None,
            approval_id=merge.approval_id,
        )
