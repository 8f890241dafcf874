"""Pages as they are served: rendered once a version, looked up in the database at most once a second."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Final, Generic, TypeVar

from db.engine import Database
from db.models import PageVersion
from db.queries.cms_pages import LivePage, find_live, get_version
from tasks.cms.content import render_body, sanitise
from tasks.templates.personalization import RenderFailed

T = TypeVar("T")
LOOK_SECONDS: Final = 1.0
"""A page that is published, changed or taken away is so on every process within this time."""
STALE_SECONDS: Final = 5.0
"""A database that takes this long keeps everybody waiting, rather than that a page stays which was taken away."""
_MOST_SLUGS: Final = 2_000
_MOST_RENDERED: Final = 500


@dataclass(frozen=True)
class Rendered:
    """A version as it is shown. `body` is sanitised."""

    live: LivePage
    version: PageVersion
    body: str


class Pages(Generic[T]):
    """The pages that were asked for lately. `make` turns one into what is served, once."""

    def __init__(self, database: Database, public_url: str, make: Callable[[Rendered], T]) -> None:
        self._database = database
        self._public_url = public_url
        self._make = make
        self._lock = Lock()
        self._looking: set[str] = set()
        self._looked: OrderedDict[str, tuple[float, LivePage | None]] = OrderedDict()
        self._made: OrderedDict[tuple[LivePage, int], T] = OrderedDict()

    def is_fresh(self, slug: str) -> bool:
        """Whether what is known of the slug may be shown; if not, the caller has to `find` it.

        When its second is over one caller finds it for all: the others are shown what is known meanwhile.
        """
        found = self._looked.get(slug)
        age = time.monotonic() - found[0] if found else STALE_SECONDS
        if age <= LOOK_SECONDS or (age < STALE_SECONDS and slug in self._looking):
            return True
        self._looking.add(slug)
        return False

    def known(self, slug: str) -> LivePage | None:
        """What was at the slug when it was looked up last."""
        found = self._looked.get(slug)
        return None if found is None else found[1]

    def find(self, slug: str) -> LivePage | None:
        """What is to be seen at the slug now."""
        try:
            with self._database.reading() as session:
                live = find_live(session, slug)
            with self._lock:
                self._looked[slug] = (time.monotonic(), live)
                self._looked.move_to_end(slug)
                if len(self._looked) > _MOST_SLUGS:
                    self._looked.popitem(last=False)
            return live
        finally:
            self._looking.discard(slug)

    def made(self, live: LivePage) -> T | None:
        """The page as it is served, if it was made before."""
        return self._made.get((live, datetime.now(UTC).year))

    def make(self, live: LivePage) -> T:
        """Render the page, and keep it; a page may show the year."""
        key = live, datetime.now(UTC).year
        with self._database.reading() as session:
            version = get_version(session, live.id, live.version)
            session.expunge(version)
        rendered = Rendered(live, version, body_of(version, live.slug, self._public_url))
        made = self._make(rendered)
        with self._lock:
            self._made[key] = made
            if len(self._made) > _MOST_RENDERED:
                self._made.popitem(last=False)
        return made


def body_of(version: PageVersion, slug: str, public_url: str) -> str:
    """The body of a version at a slug, sanitised. What cannot be rendered any more is shown as it was when it was saved."""
    body = render_body(
        version.source.decode(),
        version.format,
        page_values(version.title, slug, public_url, str(version.seo.get("description") or "")),
    )
    return sanitise(version.html.decode()) if isinstance(body, RenderFailed) else body


def page_values(title: str, slug: str, public_url: str, description: str) -> dict[str, object]:
    """What `page` is in a template."""
    return {
        "title": title,
        "slug": slug,
        "url": f"{public_url}/p/{slug}",
        "description": description,
        "year": datetime.now(UTC).year,
    }
