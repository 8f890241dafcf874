"""Pages and assets."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from api.schemas.base import ONE_LINE, Email, Id, Input, Moment, Name, Output, Text
from api.schemas.contacts import Contact
from db.models import PageVersion
from db.queries.cms_pages import PageWithVersion
from db.states import MailState, PageFormat, PageState, SignUpState
from tasks.cms.content import MAX_SOURCE


def _is_no_route(slug: str) -> str:
    if slug in ("preview", "confirm"):
        raise ValueError(f"/p/{slug}/ has a meaning of its own: choose another one")
    return slug


def _is_own_or_https(url: str) -> str:
    if not url.startswith(("https://", "/assets/", "/p/")):
        raise ValueError("use https://…, /assets/… or /p/…")
    return url


Slug = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=100),
    AfterValidator(_is_no_route),
    Field(examples=["spring-sale"], description="Lower-case letters, digits and single hyphens."),
]
Url = Annotated[str, Field(max_length=500), ONE_LINE, AfterValidator(_is_own_or_https)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, max_length=300), ONE_LINE]


class SeoIn(Input):
    """For search engines and previews; what is left out follows from the page."""

    description: Line = ""
    canonical: Url | None = None
    og_title: Line = ""
    og_description: Line = ""
    og_image: Url | None = None
    robots: Literal["index, follow", "noindex", "nofollow", "noindex, nofollow"] = "index, follow"


class FormFieldIn(Input):
    """`name` is first_name, last_name, phone or `custom.<key>` of a custom field."""

    name: Annotated[
        str,
        StringConstraints(pattern=r"^(first_name|last_name|phone|custom\.[a-z][a-z0-9_]{0,63})$"),
        Field(examples=["first_name"]),
    ]
    label: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), ONE_LINE]
    required: bool = False


class FormIn(Input):
    """A sign-up form: it always asks for an email, and for the consent in the words of `consent_text`."""

    consent_text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=10, max_length=1000),
        Field(examples=["Send me offers of the shop by email. I can end this at any time."]),
    ]
    from_email: Email
    from_name: Annotated[str, StringConstraints(strip_whitespace=True, max_length=100), ONE_LINE] = ""
    fields: Annotated[list[FormFieldIn], Field(max_length=20)] = []
    client_list_id: Id | None = None
    button: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60), ONE_LINE
    ] = "Sign up"
    subject: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=150), ONE_LINE
    ] = "Please confirm your sign-up"

    @model_validator(mode="after")
    def _asks_once(self) -> Self:
        names = [each.name for each in self.fields]
        if len(names) != len(set(names)):
            raise ValueError("each field may be asked for once")
        return self


class PageIn(Input):
    """`source` is Markdown or HTML with Liquid: `page.title`, `page.slug`, `page.url`, `page.description`, `page.year`."""

    slug: Slug
    title: Annotated[Name, Field(max_length=200, examples=["Spring sale"])]
    format: PageFormat = PageFormat.MARKDOWN
    source: Annotated[
        Text, Field(max_length=MAX_SOURCE, examples=["# {{ page.title }}\n\nAll of **April**."])
    ] = ""
    seo: SeoIn = SeoIn()
    form: FormIn | None = None
    thanks: Annotated[Text, Field(max_length=10_000, description="Shown after the form, as Markdown.")] = (
        "Thank you. Please look into your mailbox: one more click, and it is done."
    )


class PagePatch(PageIn):
    """The fields to change; those left out stay as they are. What the page says is a new version."""

    slug: Slug = ""
    title: Annotated[Name, Field(max_length=200)] = ""


class PublishIn(Input):
    """`version` null: the newest. `at` null: now."""

    version: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    at: Moment | None = None


class RollbackIn(Input):
    version: Annotated[int, Field(ge=1, le=10_000_000)]


class PageItem(Output):
    """A page in a list. `live_version` is what visitors see; null: nothing."""

    id: int
    slug: str
    title: str
    format: PageFormat
    state: PageState
    current_version: int
    live_version: int | None
    scheduled_version: int | None
    scheduled_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def values_of(cls, found: PageWithVersion) -> dict[str, Any]:
        page, version = found.page, found.version
        is_waiting = page.scheduled_version is not None and found.live_version != page.scheduled_version
        return {
            "id": page.id,
            "slug": page.slug,
            "title": version.title,
            "format": version.format,
            "state": found.state,
            "current_version": page.current_version,
            "live_version": found.live_version,
            "scheduled_version": page.scheduled_version if is_waiting else None,
            "scheduled_at": page.scheduled_at if is_waiting else None,
            "created_at": page.created_at,
            "updated_at": page.updated_at,
        }

    @classmethod
    def of(cls, found: PageWithVersion) -> Self:
        return cls(**cls.values_of(found))


class PageDetail(PageItem):
    """A page as its newest version says it. `html` is what became of `source`."""

    version: int
    url: str
    source: str
    html: str
    seo: dict[str, Any]
    form: dict[str, Any] | None
    thanks: str

    @classmethod
    def showing(cls, found: PageWithVersion, public_url: str) -> Self:
        version = found.version
        return cls(
            **cls.values_of(found),
            version=version.version,
            url=f"{public_url}/p/{found.page.slug}",
            source=version.source.decode(),
            html=version.html.decode(),
            seo=version.seo,
            form=version.form,
            thanks=version.thanks,
        )


class PageVersionItem(Output):
    version: int
    title: str
    format: PageFormat
    created_by: str
    created_at: datetime


class PageVersionOut(PageVersionItem):
    source: str
    html: str
    seo: dict[str, Any]
    form: dict[str, Any] | None
    thanks: str

    @classmethod
    def of(cls, version: PageVersion) -> Self:
        return cls(
            version=version.version,
            title=version.title,
            format=version.format,
            created_by=version.created_by,
            created_at=version.created_at,
            source=version.source.decode(),
            html=version.html.decode(),
            seo=version.seo,
            form=version.form,
            thanks=version.thanks,
        )


class PreviewLinkOut(Output):
    """Shows this version to whoever has the link, published or not."""

    url: str
    expires_in: int


class OriginCounts(Output):
    """Where people came from, as `utm_source`, `utm_medium` and `utm_campaign` of their links say; empty: nothing was said."""

    day: date
    source: str
    medium: str
    campaign: str
    views: int
    sign_ups: int
    conversions: int


class PageStatistics(Output):
    """`views` may lack the last seconds. `sign_ups` filled in the form, `conversions` confirmed. `conversion_rate`: of the views."""

    views: int
    sign_ups: int
    conversions: int
    conversion_rate: float | None
    origins: list[OriginCounts]


class SignUpOut(Output):
    """`mail` is what became of the mail that asks for confirmation."""

    id: int
    email: Contact | None
    state: SignUpState
    mail: MailState
    error: str | None
    client_id: int | None
    utm: dict[str, str]
    created_at: datetime
    confirmed_at: datetime | None


class AssetOut(Output):
    """`url` is where it is served; pictures are shown, everything else is downloaded."""

    id: int
    name: str
    title: str
    media_type: str
    size: int
    url: str
    created_by: str
    created_at: datetime
