"""What visitors see: pages, forms, files, and what search engines ask for. No login, no cookie, no script."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape as escape_xml

from fastapi import APIRouter, BackgroundTasks, Path, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from python_multipart.exceptions import ParseError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import problem_content, responses
from api.etags import is_known
from api.pages.landing_page import (
    HEADERS,
    NOT_KEPT,
    UTM_PLACE,
    Shown,
    confirm_page,
    landing_page,
    message_page,
    utm_fields,
)
from api.throttling import address_of
from db.engine import Database
from db.errors import Invalid, NotFound
from db.models import PageVersion
from db.queries import assets, cms_pages
from db.states import PageFormat
from settings import Settings
from tasks.cms.content import render_body
from tasks.cms.files import SHOWN
from tasks.cms.forms import TRAP, SignUpForm, Typed, read_typed
from tasks.cms.links import LinkOver, read_preview
from tasks.cms.serving import Pages, Rendered, body_of, page_values
from tasks.cms.sign_ups import confirm, is_pending, send_confirmation, sign_up
from tasks.cms.utm import Utm, read_utm
from tasks.cms.views import ViewCounter
from tasks.signing import secret_keys
from tasks.templates.personalization import RenderFailed

router = APIRouter(tags=["public pages"])
Slug = Annotated[str, Path(max_length=100)]
Token = Annotated[str, Path(max_length=120)]
# People see a change within this time at the latest; caches in between may answer from what they have while they ask again.
_KEPT = "public, max-age=60, stale-while-revalidate=300"
_FOR_GOOD = "public, max-age=31536000, immutable"
_ASSET_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
_MOST_FIELDS = 40
_CLOCKS_APART = timedelta(minutes=1)
_MOST_IN_SITEMAP = 50_000
_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {}}}}


@router.head("/p/{slug}", include_in_schema=False)
@router.get(
    "/p/{slug}",
    response_class=HTMLResponse,
    responses={
        **_HTML,
        301: {"description": "The page has another slug now."},
        304: {"description": "Not modified."},
        **responses(404),
    },
)
async def show_page(request: Request, slug: Slug) -> Response:
    """A published page."""
    pages: Pages[Served] = request.app.state.pages
    live = pages.known(slug) if pages.is_fresh(slug) else await run_in_threadpool(pages.find, slug)
    if live is None:
        return _nothing_here()
    query = request.url.query
    if live.slug != slug:
        # Only ever to a page of ours; what the link says of where somebody came from goes along.
        return RedirectResponse(
            f"/p/{live.slug}" + (f"?{query}" if query else ""),
            301,
            headers={**HEADERS, "Cache-Control": "public, max-age=60"},
        )
    served = pages.made(live)
    if served is None:
        served = await run_in_threadpool(pages.make, live)
    utm = read_utm(request.query_params) if query else Utm()
    if request.method == "GET":
        views: ViewCounter = request.app.state.views
        views.count(live.id, utm)
    if any(utm) and served.has_form:
        text = served.document.decode().replace(UTM_PLACE, utm_fields(utm))
        return HTMLResponse(text, headers=dict(NOT_KEPT))
    if is_known(request, served.etag):
        return Response(status_code=304, headers=served.headers)
    return Response(served.document, media_type="text/html", headers=served.headers)


@router.get("/p/preview/{token}", response_class=HTMLResponse, responses={**_HTML, **responses(404)})
def preview_page(database: DatabaseDep, settings: SettingsDep, token: Token) -> HTMLResponse:
    """A version that need not be published, by a signed link."""
    page_id, number, made_at = read_preview(secret_keys(settings), token)
    with database.reading() as session:
        found = cms_pages.get_page(session, page_id, version=number)
        # Younger than its link: another page, which got the id of one that was deleted (SQLite).
        if found.page.created_at > made_at + _CLOCKS_APART:
            raise LinkOver
        version, slug = found.version, found.page.slug
        shown = _shown(version, slug, settings)
        body = body_of(version, slug, settings.public_url)
    text = landing_page(shown, body, note=f"Preview of version {number}: nobody else sees this.")
    return HTMLResponse(text, headers=dict(NOT_KEPT))


@router.post(
    "/p/{slug}/sign-up",
    response_class=HTMLResponse,
    responses={
        303: {"description": "Stored; on to the words of thanks."},
        422: {
            "content": {"text/html": {}, **problem_content()},
            "description": "The form with what is wrong.",
        },
        **responses(404, 413),
    },
    status_code=303,
)
async def take_sign_up(
    request: Request, database: DatabaseDep, settings: SettingsDep, background: BackgroundTasks, slug: Slug
) -> Response:
    """A form that somebody filled in. The answer is the same whether the address is known here or not."""
    given = await _form(request)
    return await run_in_threadpool(_take, request, database, settings, background, slug, given)


@router.get("/p/{slug}/thank-you", response_class=HTMLResponse, responses={**_HTML, **responses(404)})
def thank(database: DatabaseDep, settings: SettingsDep, slug: Slug) -> HTMLResponse:
    """After a form."""
    return _thanks(*_find(database, slug), settings)


@router.get("/p/confirm/{token}", response_class=HTMLResponse, responses={**_HTML, **responses(404)})
def ask_to_confirm(database: DatabaseDep, settings: SettingsDep, token: Token) -> HTMLResponse:
    """The page behind the link of a confirmation mail. Link scanners open it, so it changes nothing."""
    if is_pending(database, settings, token):
        return HTMLResponse(confirm_page("Please confirm"), headers=dict(NOT_KEPT))
    return _confirmed()


@router.post("/p/confirm/{token}", response_class=HTMLResponse, responses={**_HTML, **responses(404, 413)})
def confirm_address(database: DatabaseDep, settings: SettingsDep, token: Token) -> HTMLResponse:
    """The owner of the address agrees. Committed before the answer; again changes nothing."""
    confirm(database, settings, token)
    return _confirmed()


@router.head("/assets/{name}", include_in_schema=False)
@router.get(
    "/assets/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        304: {"description": "Not modified."},
        **responses(404),
    },
)
def get_file(request: Request, database: DatabaseDep, name: Annotated[str, Path(max_length=60)]) -> Response:
    """A file of a page. Pictures are shown; whatever could hold a script is downloaded."""
    with database.reading() as session:
        asset = assets.find_asset(session, name)
        if asset is None:
            raise NotFound("asset", name[:60])
        content, media_type, title, digest = asset.content, asset.media_type, asset.title, asset.digest
    etag = f'"{digest[:24]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": _FOR_GOOD,
        "Content-Security-Policy": _ASSET_POLICY,
        "Cross-Origin-Resource-Policy": "cross-origin" if media_type in SHOWN else "same-origin",
        "X-Content-Type-Options": "nosniff",
    }
    if media_type not in SHOWN:
        quoted = urlencode({"": title})[1:].replace("+", "%20")
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quoted}"
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    charset = "; charset=utf-8" if media_type.startswith("text/") else ""
    return Response(content, headers={**headers, "Content-Type": media_type + charset})


@router.get("/sitemap.xml", response_class=Response, responses={200: {"content": {"application/xml": {}}}})
def get_sitemap(database: DatabaseDep, settings: SettingsDep) -> Response:
    """Every page that search engines may keep."""
    with database.reading() as session:
        visible = cms_pages.list_visible(session, limit=_MOST_IN_SITEMAP)
    entries = "".join(
        f"<url><loc>{escape_xml(f'{settings.public_url}/p/{slug}')}</loc><lastmod>{changed:%Y-%m-%d}</lastmod></url>"
        for slug, changed, seo in visible
        if "noindex" not in str(seo.get("robots")) and not seo.get("canonical")
    )
    document = f'<?xml version="1.0" encoding="UTF-8"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{entries}</urlset>'
    return Response(document, media_type="application/xml", headers={"Cache-Control": "public, max-age=300"})


@router.get("/robots.txt", response_class=PlainTextResponse)
def get_robots(settings: SettingsDep) -> PlainTextResponse:
    """What search engines may look at: pages and their pictures."""
    lines = [
        "User-agent: *",
        *("Disallow: /p/preview/", "Disallow: /p/confirm/", "Allow: /p/", "Allow: /assets/", "Disallow: /"),
        f"Sitemap: {settings.public_url}/sitemap.xml",
        "",
    ]
    return PlainTextResponse("\n".join(lines), headers={"Cache-Control": "public, max-age=300"})


@dataclass(frozen=True)
class Served:
    """A page as it goes out, again and again: nothing of it is made for one visitor."""

    document: bytes
    etag: str
    headers: dict[str, str]
    has_form: bool


class Maker:
    """Makes what is served of a rendered page; one a process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, rendered: Rendered) -> Served:
        shown = _shown(rendered.version, rendered.live.slug, self._settings)
        document = landing_page(shown, rendered.body).encode()
        etag = f'"{hashlib.blake2b(document, digest_size=12).hexdigest()}"'
        headers = {
            **HEADERS,
            "ETag": etag,
            "Cache-Control": _KEPT,
            "Last-Modified": format_datetime(rendered.version.created_at, usegmt=True),
        }
        return Served(document, etag, headers, shown.form is not None)


def _shown(version: PageVersion, slug: str, settings: Settings) -> Shown:
    form = SignUpForm.of(version.form) if version.form else None
    return Shown(version.title, f"{settings.public_url}/p/{slug}", slug, version.seo, form)


def _find(database: Database, slug: str) -> tuple[PageVersion, str]:
    """What is to be seen at a slug, or of the page that had it when somebody opened its form; and its slug now."""
    with database.reading() as session:
        live = cms_pages.find_live(session, slug)
        if live is None:
            raise NotFound("page", slug[:100])
        version = cms_pages.get_version(session, live.id, live.version)
        session.expunge(version)
        return version, live.slug


def _take(
    request: Request,
    database: Database,
    settings: Settings,
    background: BackgroundTasks,
    slug: str,
    given: Mapping[str, str],
) -> Response:
    version, slug = _find(database, slug)
    if version.form is None:
        raise NotFound("form of page", slug[:100])
    done = RedirectResponse(f"/p/{slug}/thank-you", 303, headers=dict(NOT_KEPT), background=background)
    if given.get(TRAP):
        return done  # A program: it learns nothing.
    form = SignUpForm.of(version.form)
    typed = read_typed(form, given, region=settings.default_region)
    if not typed.problems:
        try:
            made = sign_up(
                database,
                settings,
                page_id=version.page_id,
                version=version.version,
                typed=typed,
                utm=read_utm(given),
                address=address_of(request.scope),
            )
        except Invalid as error:
            name = f"custom.{error.field.removeprefix('custom_fields.')}"
            typed = Typed(typed.email, typed.values, {name: "Please choose something else here."})
        else:
            if made is not None:
                background.add_task(send_confirmation, database, settings, made)
            return done
    body = body_of(version, slug, settings.public_url)
    text = landing_page(
        _shown(version, slug, settings),
        body,
        note="Something is missing: see below.",
        given=given,
        problems=typed.problems,
    )
    text = text.replace(UTM_PLACE, utm_fields(read_utm(given)))
    return HTMLResponse(text, 422, headers=dict(NOT_KEPT))


def _thanks(version: PageVersion, slug: str, settings: Settings) -> HTMLResponse:
    values = page_values(version.title, slug, settings.public_url, str(version.seo.get("description") or ""))
    words = render_body(version.thanks, PageFormat.MARKDOWN, values)
    body = "<p>Thank you.</p>" if isinstance(words, RenderFailed) else words
    return HTMLResponse(message_page(version.title, body), headers=dict(NOT_KEPT))


def _confirmed() -> HTMLResponse:
    page = message_page("Thank you", '<p role="status">It is done: you are signed up.</p>')
    return HTMLResponse(page, headers=dict(NOT_KEPT))


def _nothing_here() -> HTMLResponse:
    return HTMLResponse(
        message_page("Nothing here", "<p>There is no such page, or it is not published.</p>"),
        404,
        headers=dict(NOT_KEPT),
    )


async def _form(request: Request) -> dict[str, str]:
    """urlencoded or multipart, the first value of each field; nothing where there is neither."""
    try:
        form = await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=4096)
    except (HTTPException, ParseError, UnicodeError, LookupError):
        return {}
    found: dict[str, str] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            # Half a character of an odd charset is none that could be shown or stored.
            found.setdefault(name, value.encode(errors="ignore").decode())
    return found
