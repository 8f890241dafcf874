"""Landing pages and their files, as people write them."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, File, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from api.abilities import Ability, needs
from api.auditing import note
from api.dependencies import CurrentCaller, DatabaseDep, ItemId, PageDep, SettingsDep
from api.errors import FieldError, TemplateRefused, TooLarge, bad_parameter, responses
from api.etags import MatchDep
from api.schemas.base import PageOut
from api.schemas.cms import (
    AssetOut,
    OriginCounts,
    PageDetail,
    PageIn,
    PageItem,
    PagePatch,
    PageStatistics,
    PageVersionItem,
    PageVersionOut,
    PreviewLinkOut,
    PublishIn,
    RollbackIn,
    SignUpOut,
)
from db.engine import Session
from db.errors import Invalid
from db.fields import FieldKind
from db.models import Asset, Page
from db.queries import assets, cms_pages, custom_fields, page_counts, sign_ups
from db.queries.client_lists import get_static_list
from db.queries.cms_pages import PageContent, PageWithVersion, content_of
from db.states import PageFormat, SignUpState
from settings import Settings
from tasks.cms.content import MAX_SOURCE, problems_of, render_body
from tasks.cms.files import check_file
from tasks.cms.links import PREVIEW_SECONDS, preview_token
from tasks.cms.serving import page_values
from tasks.signing import secret_key
from tasks.templates.personalization import RenderFailed

router = APIRouter(prefix="/api/cms", tags=["cms"])
_TEXTS = (FieldKind.TEXT, FieldKind.CHOICE)
_MOST_DAYS = 366
_FIRST_DAY = date(2000, 1, 1)


@router.post(
    "/pages", status_code=201, responses=responses(404, 409), dependencies=[needs(Ability.PAGES_WRITE)]
)
def create_page(
    database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, body: PageIn
) -> PageDetail:
    """Write a page. Nobody sees it before it is published."""

    def work(session: Session) -> PageDetail:
        content = _content(session, settings, body, body.slug)
        found = cms_pages.insert_page(session, body.slug, content, created_by=caller.name)
        return PageDetail.showing(found, settings.public_url)

    return database.run(work)


@router.get("/pages", dependencies=[needs(Ability.PAGES_READ)])
def list_pages(database: DatabaseDep, page: PageDep) -> PageOut[PageItem]:
    with database.reading() as session:
        found = cms_pages.list_pages(session, after=page.cursor, limit=page.limit)
        items = [PageItem.of(each) for each in found.items]
    return PageOut[PageItem](items=items, next_cursor=found.next_cursor)


@router.get("/pages/{page_id}", responses=responses(404), dependencies=[needs(Ability.PAGES_READ)])
def get_page(database: DatabaseDep, settings: SettingsDep, match: MatchDep, page_id: ItemId) -> PageDetail:
    """A page with its newest version."""
    with database.reading() as session:
        return match.tag(PageDetail.showing(cms_pages.get_page(session, page_id), settings.public_url))


@router.patch("/pages/{page_id}", responses=responses(404, 409), dependencies=[needs(Ability.PAGES_WRITE)])
def update_page(
    database: DatabaseDep,
    settings: SettingsDep,
    caller: CurrentCaller,
    match: MatchDep,
    page_id: ItemId,
    body: PagePatch,
) -> PageDetail:
    """Change a page. What it says is a new version, which nobody sees before it is published. An old slug leads to the new one."""
    given = body.model_fields_set

    def work(session: Session) -> PageDetail:
        def show() -> PageDetail:
            return PageDetail.showing(cms_pages.get_page(session, page_id), settings.public_url)

        match.require(session, Page, Page.id == page_id, as_it_is=show)
        before = cms_pages.get_page(session, page_id, lock=True)
        slug = body.slug if "slug" in given else before.page.slug
        content = _content(session, settings, _revised(before, body), slug)
        found = cms_pages.update_page(session, page_id, slug=slug, content=content, changed_by=caller.name)
        return PageDetail.showing(found, settings.public_url)

    return match.tag(database.run(work))


@router.delete(
    "/pages/{page_id}", status_code=204, responses=responses(404), dependencies=[needs(Ability.PAGES_DELETE)]
)
def delete_page(database: DatabaseDep, page_id: ItemId) -> None:
    """Delete a page with its versions and counts. Clients who signed up on it stay."""
    database.run(lambda s: cms_pages.delete_page(s, page_id))


@router.post(
    "/pages/{page_id}/publish", responses=responses(404), dependencies=[needs(Ability.PAGES_PUBLISH)]
)
def publish_page(
    connection: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    page_id: ItemId,
    body: PublishIn | None = None,
) -> PageDetail:
    """Show a version to everybody: the newest, if none is named; now, or from a moment on. Within a second it is so everywhere."""
    wanted = body or PublishIn()
    if wanted.at is not None and wanted.at <= datetime.now(UTC):
        raise Invalid("at", "is in the past: leave it out to publish now")
    found = database.run(lambda s: cms_pages.publish_page(s, page_id, wanted.version, at=wanted.at))
    note(connection, version=found.version.version)
    return PageDetail.showing(found, settings.public_url)


@router.post(
    "/pages/{page_id}/unpublish", responses=responses(404), dependencies=[needs(Ability.PAGES_PUBLISH)]
)
def unpublish_page(database: DatabaseDep, settings: SettingsDep, page_id: ItemId) -> PageDetail:
    """Show it to nobody, now and later."""
    return PageDetail.showing(
        database.run(lambda s: cms_pages.unpublish_page(s, page_id)), settings.public_url
    )


@router.get("/pages/{page_id}/versions", responses=responses(404), dependencies=[needs(Ability.PAGES_READ)])
def list_page_versions(database: DatabaseDep, page_id: ItemId, page: PageDep) -> PageOut[PageVersionItem]:
    """All versions, newest first; the cursor is a version's number."""
    with database.reading() as session:
        return PageOut[PageVersionItem].of(
            cms_pages.list_page_versions(session, page_id, before=page.cursor or None, limit=page.limit)
        )


@router.get(
    "/pages/{page_id}/versions/{version}",
    responses=responses(404),
    dependencies=[needs(Ability.PAGES_READ)],
)
def get_page_version(database: DatabaseDep, page_id: ItemId, version: ItemId) -> PageVersionOut:
    with database.reading() as session:
        return PageVersionOut.of(cms_pages.get_version(session, page_id, version))


@router.post("/pages/{page_id}/rollback", responses=responses(404), dependencies=[needs(Ability.PAGES_WRITE)])
def roll_back_page(
    database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, page_id: ItemId, body: RollbackIn
) -> PageDetail:
    """Say again what an older version says, as a new version. Visitors see it when it is published."""

    def work(session: Session) -> PageDetail:
        old = content_of(cms_pages.get_version(session, page_id, body.version))
        found = cms_pages.update_page(session, page_id, slug=None, content=old, changed_by=caller.name)
        return PageDetail.showing(found, settings.public_url)

    return database.run(work)


@router.post(
    "/pages/{page_id}/preview-link", responses=responses(404), dependencies=[needs(Ability.PAGES_WRITE)]
)
def make_preview_link(database: DatabaseDep, settings: SettingsDep, page_id: ItemId) -> PreviewLinkOut:
    """A link that shows the newest version, published or not, to whoever has it; for a week."""
    with database.reading() as session:
        found = cms_pages.get_page(session, page_id)
    token = preview_token(secret_key(settings), page_id, found.version.version)
    return PreviewLinkOut(url=f"{settings.public_url}/p/preview/{token}", expires_in=PREVIEW_SECONDS)


@router.get("/pages/{page_id}/statistics", responses=responses(404), dependencies=[needs(Ability.PAGES_READ)])
def get_page_statistics(
    database: DatabaseDep,
    page_id: ItemId,
    since: Annotated[date | None, Query(description="First day; 30 days ago when left out.")] = None,
    until: Annotated[date | None, Query(description="Last day; today when left out.")] = None,
) -> PageStatistics:
    """Views, sign-ups and conversions: of all time, and by day and origin."""
    last = until or datetime.now(UTC).date()
    if last < _FIRST_DAY:
        raise bad_parameter("until", f"choose a day from {_FIRST_DAY} on")
    first = since or last - timedelta(days=30)
    if not timedelta(0) <= last - first <= timedelta(days=_MOST_DAYS):
        raise bad_parameter("since", f"choose up to {_MOST_DAYS} days, the first before the last")
    with database.reading() as session:
        cms_pages.get_page(session, page_id)
        views, signed_up, conversions = page_counts.get_totals(session, page_id)
        rows = page_counts.list_counts(session, page_id, since=first, until=last)
    names = OriginCounts.model_fields
    return PageStatistics(
        views=views,
        sign_ups=signed_up,
        conversions=conversions,
        conversion_rate=round(conversions / views, 4) if views else None,
        origins=[OriginCounts(**dict(zip(names, row, strict=True))) for row in rows],
    )


@router.get("/pages/{page_id}/sign-ups", responses=responses(404), dependencies=[needs(Ability.PAGES_READ)])
def list_page_sign_ups(
    database: DatabaseDep,
    page_id: ItemId,
    page: PageDep,
    state: Annotated[SignUpState | None, Query()] = None,
) -> PageOut[SignUpOut]:
    """Who filled in the form. Once confirmed, what was typed is in the client and no longer here."""
    with database.reading() as session:
        cms_pages.get_page(session, page_id)
        return PageOut[SignUpOut].of(
            sign_ups.list_sign_ups(session, page_id, after=page.cursor, limit=page.limit, state=state)
        )


class AssetForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: UploadFile


@router.post("/assets", status_code=201, responses=responses(413), dependencies=[needs(Ability.ASSETS_WRITE)])
def upload_asset(
    database: DatabaseDep, settings: SettingsDep, caller: CurrentCaller, file: Annotated[UploadFile, File()]
) -> AssetOut:
    """Store a file. What it is, is told from its bytes: PNG, JPEG, GIF, WEBP, SVG, PDF, plain text or CSV."""
    content = file.file.read(settings.max_asset_bytes + 1)
    if len(content) > settings.max_asset_bytes:
        raise TooLarge(f"an asset has at most {settings.max_asset_bytes:,} bytes")
    checked = check_file(file.filename or "", content)
    asset = Asset(
        name=checked.name,
        title=checked.title,
        media_type=checked.media_type,
        size=len(content),
        digest=checked.digest,
        content=content,
        created_by=caller.name[:120],
    )
    return database.run(lambda s: _asset(assets.insert_asset(s, asset), settings))


@router.get("/assets", dependencies=[needs(Ability.ASSETS_READ)])
def list_assets(database: DatabaseDep, settings: SettingsDep, page: PageDep) -> PageOut[AssetOut]:
    with database.reading() as session:
        found = assets.list_assets(session, after=page.cursor, limit=page.limit)
        items = [_asset(each, settings) for each in found.items]
    return PageOut[AssetOut](items=items, next_cursor=found.next_cursor)


@router.get("/assets/{asset_id}", responses=responses(404), dependencies=[needs(Ability.ASSETS_READ)])
def get_asset(database: DatabaseDep, settings: SettingsDep, asset_id: ItemId) -> AssetOut:
    with database.reading() as session:
        return _asset(assets.get_asset(session, asset_id), settings)


@router.delete(
    "/assets/{asset_id}",
    status_code=204,
    responses=responses(404),
    dependencies=[needs(Ability.ASSETS_DELETE)],
)
def delete_asset(database: DatabaseDep, asset_id: ItemId) -> None:
    """Delete a file. Pages that show it have a gap; caches may keep it for a while."""
    database.run(lambda s: assets.delete_asset(s, asset_id))


def _asset(asset: Asset, settings: Settings) -> AssetOut:
    return AssetOut(
        id=asset.id,
        name=asset.name,
        title=asset.title,
        media_type=asset.media_type,
        size=asset.size,
        url=f"{settings.public_url}/assets/{asset.name}",
        created_by=asset.created_by,
        created_at=asset.created_at,
    )


def _revised(before: PageWithVersion, patch: PagePatch) -> PageIn:
    old = content_of(before.version)
    stored = {
        "slug": before.page.slug,
        "title": old.title,
        "format": old.format,
        "source": old.source,
        "seo": old.seo,
        "form": old.form,
        "thanks": old.thanks,
    }
    try:
        return PageIn.model_validate(stored | patch.model_dump(exclude_unset=True))
    except ValidationError as error:
        # What was stored under older rules has to be changed with it.
        problems = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(problems) from error


def _content(session: Session, settings: Settings, body: PageIn, slug: str) -> PageContent:
    """Checked and rendered. Raises TemplateRefused and Invalid, which name line or field."""
    html = _rendered(settings, body.source, body.format, body, slug, "source")
    _rendered(settings, body.thanks, PageFormat.MARKDOWN, body, slug, "thanks")
    if body.form is not None:
        _check_form(session, body)
    # Liquid is not HTML yet: what has some is sanitised when it is rendered, and kept as it was written.
    source = html if body.format is PageFormat.HTML and "{" not in body.source else body.source
    if len(source) > MAX_SOURCE:
        raise Invalid("source", f"is longer than {MAX_SOURCE} characters once it is safe: shorten it")
    return PageContent(
        title=body.title,
        format=body.format,
        source=source,
        html=html,
        seo=body.seo.model_dump(),
        form=body.form.model_dump() if body.form else None,
        thanks=body.thanks,
    )


def _rendered(settings: Settings, source: str, kind: PageFormat, body: PageIn, slug: str, field: str) -> str:
    problems = problems_of(source)
    if problems:
        raise TemplateRefused(
            [FieldError(field=f"body.{field}", message=each.reason, line=each.line) for each in problems]
        )
    values = page_values(body.title, slug, settings.public_url, body.seo.description)
    html = render_body(source, kind, values)
    if isinstance(html, RenderFailed):
        raise TemplateRefused([FieldError(field=f"body.{field}", message=html.reason)])
    return html


def _check_form(session: Session, body: PageIn) -> None:
    assert body.form is not None
    if body.form.client_list_id is not None:
        get_static_list(session, body.form.client_list_id)
    known = custom_fields.list_field_types(session)
    for position, each in enumerate(body.form.fields):
        key = each.name.removeprefix("custom.")
        if key == each.name:
            continue
        if key not in known:
            raise Invalid(f"form.fields.{position}.name", f"there is no custom field {key}")
        if known[key].kind not in _TEXTS:
            raise Invalid(
                f"form.fields.{position}.name", f"{key} is no text and no choice: a form cannot ask for it"
            )
