"""Templates, previews and test sends."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, model_validator

from api.schemas.base import ONE_LINE, Email, Id, Input, Name, Output, SenderId
from api.schemas.clients import CustomFields, PersonName, Tags
from db.queries.templates import TemplateWithVersion
from db.states import Channel

Subject = Annotated[str, Field(max_length=998), ONE_LINE]
# Liquid may be longer than what it renders to; see MAX_SOURCE_CHARACTERS of tasks/templates/liquid.py.
Source = Annotated[str, Field(max_length=500_000)]


class TemplateIn(Input):
    """A template in Liquid. Email needs a subject and HTML or text; text is made from the HTML where it is empty."""

    name: Name
    channel: Channel
    subject: Subject = ""
    html: Source = ""
    text: Source = ""


class TemplatePatch(Input):
    """The fields to change; those left out stay as they are.

    New content makes a new version; executions keep the one they started with.
    """

    name: Name = ""
    subject: Subject = ""
    html: Source = ""
    text: Source = ""


class TemplateItem(Output):
    """A template in a list: without its sources, which may be large."""

    id: int
    name: str
    channel: Channel
    version: int
    subject: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: TemplateWithVersion) -> "TemplateItem":
        template, version = found.template, found.version
        return cls(
            id=template.id,
            name=template.name,
            channel=template.channel,
            version=version.version,
            subject=version.subject,
            created_at=template.created_at,
            updated_at=template.updated_at,
        )


class TemplateOut(Output):
    """A template with the sources of its current version. `warnings` are variables that are custom fields nobody defined: the
    template can be saved and sent, and they are empty."""

    id: int
    name: str
    channel: Channel
    version: int
    subject: str
    html: str
    text: str
    variables: list[str]
    warnings: list[str]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: TemplateWithVersion, variables: list[str], warnings: list[str]) -> "TemplateOut":
        template, version = found.template, found.version
        return cls(
            id=template.id,
            name=template.name,
            channel=template.channel,
            version=version.version,
            subject=version.subject,
            html=version.html,
            text=version.text,
            variables=variables,
            warnings=warnings,
            created_at=template.created_at,
            updated_at=template.updated_at,
        )


class VersionOut(Output):
    version: int
    subject: str
    html: str
    text: str
    created_at: datetime


class SampleClient(Input):
    """Made-up values to preview with. Custom fields need not be defined: here people try things out."""

    email: Annotated[str, Field(max_length=254)] = "ada@example.com"
    phone: Annotated[str, Field(max_length=16)] = "+353871234567"
    first_name: PersonName = "Ada"
    last_name: PersonName = "Lovelace"
    time_zone: Annotated[str, Field(max_length=64)] = ""
    locale: Annotated[str, Field(max_length=35)] = ""
    tags: Tags = []
    custom_fields: CustomFields = {}


class PreviewIn(Input):
    """Preview for a client, or for made-up values."""

    client_id: Id | None = None
    sample: SampleClient | None = None

    @model_validator(mode="after")
    def _not_both(self) -> "PreviewIn":
        if self.client_id is not None and self.sample is not None:
            raise ValueError("give client_id or sample, not both")
        return self


class SmsSizeOut(Output):
    encoding: Literal["gsm7", "ucs2"]
    characters: int
    units: int
    parts: int


class PreviewOut(Output):
    """What the client would get. `missing` are variables that are empty for this client; `sms` only for SMS."""

    subject: str = ""
    html: str = ""
    text: str
    missing: list[str]
    sms: SmsSizeOut | None = None


class TestSendIn(Input):
    """Send one real message to an address; it is in no ledger.

    It is rendered for the client, or for made-up values. `from_email` (email) or `sender_id` (SMS) may be left out
    where a flow uses the template: then it comes from the newest such flow's sender.
    """

    to: Annotated[str, Field(min_length=3, max_length=320)]
    client_id: Id | None = None
    from_email: Email | None = None
    sender_id: SenderId | None = None


class TestSendOut(Output):
    provider_message_id: str | None
    detail: str
