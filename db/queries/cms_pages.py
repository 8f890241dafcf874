"""Landing pages and their versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, case, delete, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, load_only

from db.dialect import utc_now
from db.errors import Conflict, NotFound
from db.models import Page as PageRow
from db.models import PageRedirect, PageVersion
from db.queries.pages import Page, page_of
from db.queries.sign_ups import detach_sign_ups
from db.states import PageFormat, PageState


@dataclass(frozen=True)
class PageContent:
    """What a version consists of. `html` is what became of `source`."""

    title: str
    format: PageFormat
    source: str
    html: str
    seo: Mapping[str, Any]
    form: Mapping[str, Any] | None
    thanks: str


class PageWithVersion(NamedTuple):
    """A page, one of its versions, and what of it is to be seen now."""

    page: PageRow
    version: PageVersion
    state: PageState
    live_version: int | None


class LivePage(NamedTuple):
    """What is to be seen at a slug now; `slug` is where, which may be another one than was asked for.

    `born` is when the page was made: an id may be given once more when its page is deleted (SQLite).
    """

    id: int
    slug: str
    version: int
    born: datetime


def _live() -> ColumnElement[int | None]:
    """The number of the version that is to be seen now, by the database's clock."""
    is_due = (PageRow.scheduled_at.is_not(None)) & (PageRow.scheduled_at <= utc_now())
    return case((is_due, PageRow.scheduled_version), else_=PageRow.published_version)


def insert_page(session: Session, slug: str, content: PageContent, *, created_by: str) -> PageWithVersion:
    """A new page as a draft. Raises Conflict: the slug is another page's, now or before."""
    _require_free(session, slug)
    page = PageRow(slug=slug, current_version=1)
    try:
        with session.begin_nested():
            session.add(page)
    except IntegrityError as error:
        raise _taken(slug) from error
    session.add(_version(page.id, 1, content, created_by))
    session.flush()
    return get_page(session, page.id)


def get_page(
    session: Session, page_id: int, *, version: int | None = None, lock: bool = False
) -> PageWithVersion:
    """A page with its newest version, or the one that is asked for. Raises NotFound."""
    query = select(PageRow, _live()).where(PageRow.id == page_id).execution_options(populate_existing=True)
    row = session.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound("page", page_id)
    page, live = row
    number = version or page.current_version
    found = session.scalars(
        select(PageVersion).where(PageVersion.page_id == page_id, PageVersion.version == number)
    ).one_or_none()
    if found is None:
        raise NotFound(f"page {page_id} version", number)
    return PageWithVersion(page, found, _state(page, live), live)


def list_pages(session: Session, *, after: int, limit: int) -> Page[PageWithVersion]:
    """Pages with the titles of their newest versions; their sources are not read."""
    found = page_of(session, select(PageRow), PageRow.id, after=after, limit=limit)
    ids = [page.id for page in found.items]
    rows = session.execute(
        select(PageVersion, _live())
        .join(PageRow, (PageRow.id == PageVersion.page_id) & (PageRow.current_version == PageVersion.version))
        .where(PageRow.id.in_(ids))
        .options(
            load_only(
                PageVersion.page_id,
                PageVersion.version,
                PageVersion.title,
                PageVersion.format,
                raiseload=True,
            )
        )
    )
    by_page = {version.page_id: (version, live) for version, live in rows}
    items = [
        PageWithVersion(page, by_page[page.id][0], _state(page, by_page[page.id][1]), by_page[page.id][1])
        for page in found.items
    ]
    return Page(items, found.next_cursor)


def list_page_versions(
    session: Session, page_id: int, *, before: int | None, limit: int
) -> Page[PageVersion]:
    """Newest first, without their sources; the cursor is a version's number."""
    get_page(session, page_id)
    query = select(PageVersion).where(PageVersion.page_id == page_id)
    if before is not None:
        query = query.where(PageVersion.version < before)
    columns = (PageVersion.version, PageVersion.title, PageVersion.format)
    query = query.options(load_only(*columns, PageVersion.created_by, PageVersion.created_at, raiseload=True))
    rows = session.scalars(query.order_by(PageVersion.version.desc()).limit(limit + 1)).all()
    items = rows[:limit]
    return Page(items, items[-1].version if len(rows) > limit else None)


def update_page(
    session: Session, page_id: int, *, slug: str | None, content: PageContent | None, changed_by: str
) -> PageWithVersion:
    """Change the slug, or add a version. A slug that people may have seen leads to the page from now on.

    Raises:
        NotFound: there is no such page.
        Conflict: the slug is another page's, now or before.
    """
    found = get_page(session, page_id, lock=True)
    page = found.page
    if content is not None and content != content_of(found.version):
        page.current_version += 1
        session.add(_version(page_id, page.current_version, content, changed_by))
    if slug is not None and slug != page.slug:
        _require_free(session, slug, page_id=page_id)
        session.execute(delete(PageRedirect).where(PageRedirect.slug == slug))
        if page.published_at is not None or page.scheduled_version is not None:
            session.add(PageRedirect(slug=page.slug, page_id=page_id))
        page.slug = slug
    page.updated_at = utc_now()
    try:
        session.flush()
    except IntegrityError as error:
        raise _taken(slug or page.slug) from error
    return get_page(session, page_id)


def publish_page(
    session: Session, page_id: int, version: int | None, *, at: datetime | None
) -> PageWithVersion:
    """Show a version, the newest when none is named, now or from a moment on."""
    found = get_page(session, page_id, version=version, lock=True)
    page, number = found.page, found.version.version
    if at is None:
        page.published_version, page.published_at = number, utc_now()
        page.scheduled_version = page.scheduled_at = None
    else:
        # What is to be seen meanwhile stays: a schedule whose moment has come is the published one by now.
        page.published_version = found.live_version
        page.scheduled_version, page.scheduled_at = number, at
    page.updated_at = utc_now()
    session.flush()
    return get_page(session, page_id)


def unpublish_page(session: Session, page_id: int) -> PageWithVersion:
    """Show it to nobody, now or later."""
    found = get_page(session, page_id, lock=True)
    page = found.page
    if found.live_version is not None:
        page.published_at = page.published_at or page.scheduled_at
    page.published_version = page.scheduled_version = page.scheduled_at = None
    page.updated_at = utc_now()
    session.flush()
    return get_page(session, page_id)


def delete_page(session: Session, page_id: int) -> None:
    """The page, its versions, counts and redirects. Who signed up and confirmed stays a client."""
    get_page(session, page_id, lock=True)
    detach_sign_ups(session, page_id)
    session.execute(delete(PageRow).where(PageRow.id == page_id))


def find_live(session: Session, slug: str) -> LivePage | None:
    """What is to be seen at a slug, or where the page that had it is now; None: nothing, or nothing yet."""
    live = _live().label("live")
    redirected = select(PageRedirect.page_id).where(PageRedirect.slug == slug).scalar_subquery()
    found = (
        select(PageRow.id, PageRow.slug, live, PageRow.created_at)
        .where(or_(PageRow.slug == slug, PageRow.id == redirected))
        # A page that has the slug comes before one that had it.
        .order_by(case((PageRow.slug == slug, 0), else_=1))
        .limit(1)
    )
    row = session.execute(found).one_or_none()
    return None if row is None or row.live is None else LivePage(row.id, row.slug, row.live, row.created_at)


def hold_page(session: Session, page_id: int) -> None:
    """Nobody deletes the page before the transaction ends. Raises NotFound."""
    found = select(PageRow.id).where(PageRow.id == page_id).with_for_update(read=True)
    if session.scalar(found) is None:
        raise NotFound("page", page_id)


def list_pages_asking_for(session: Session, name: str) -> Sequence[tuple[int, str]]:
    """Id and slug of the pages whose form asks for a field, in the version that is seen, will be seen or is being written."""
    numbers = (PageRow.current_version, PageRow.published_version, PageRow.scheduled_version)
    rows = session.execute(
        select(PageRow.id, PageRow.slug, PageVersion.form)
        .join(PageVersion, (PageVersion.page_id == PageRow.id) & PageVersion.version.in_(numbers))
        .where(PageVersion.form.is_not(None))
        .order_by(PageRow.id)
    )
    asking = {
        page_id: slug
        for page_id, slug, form in rows
        if form and any(each["name"] == name for each in form["fields"])
    }
    return list(asking.items())


def get_version(session: Session, page_id: int, version: int) -> PageVersion:
    """Raises NotFound."""
    return get_page(session, page_id, version=version).version


def list_visible(session: Session, *, limit: int) -> Sequence[tuple[str, datetime, dict[str, Any]]]:
    """Slug, time of the last change and search-engine fields of what is to be seen: for the sitemap."""
    live = _live()
    rows = session.execute(
        select(PageRow.slug, PageVersion.created_at, PageVersion.seo)
        .join(PageVersion, (PageVersion.page_id == PageRow.id) & (PageVersion.version == live))
        .order_by(PageRow.id)
        .limit(limit)
    )
    return rows.tuples().all()


def content_of(version: PageVersion) -> PageContent:
    return PageContent(
        version.title,
        version.format,
        version.source.decode(),
        version.html.decode(),
        version.seo,
        version.form,
        version.thanks,
    )


def _version(page_id: int, number: int, content: PageContent, created_by: str) -> PageVersion:
    return PageVersion(
        page_id=page_id,
        version=number,
        title=content.title,
        format=content.format,
        source=content.source.encode(),
        html=content.html.encode(),
        seo=dict(content.seo),
        form=None if content.form is None else dict(content.form),
        thanks=content.thanks,
        created_by=created_by[:120],
    )


def _state(page: PageRow, live: int | None) -> PageState:
    if live is not None:
        return PageState.PUBLISHED
    return PageState.SCHEDULED if page.scheduled_at is not None else PageState.DRAFT


def _require_free(session: Session, slug: str, *, page_id: int | None = None) -> None:
    # Pages first: a slug that another page leaves meanwhile is among the redirects by then.
    has = select(PageRow.id).where(PageRow.slug == slug, PageRow.id != (page_id or 0))
    had = select(PageRedirect.id).where(PageRedirect.slug == slug, PageRedirect.page_id != (page_id or 0))
    if session.scalar(has) or session.scalar(had):
        raise _taken(slug)


def _taken(slug: str) -> Conflict:
    return Conflict(f"another page has, or had, the slug {slug}", "slug")
