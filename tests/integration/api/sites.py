"""Pages on the test's database, and the mails that their forms lead to."""

from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

from db.engine import Database
from db.models import SignUp
from settings import get_settings
from tasks.cms.links import confirm_token
from tasks.providers.outcomes import Accepted
from tasks.signing import secret_key
from tests.integration.api.answers import created

FORM = {
    "consent_text": "Send me offers of the shop by email.",
    "from_email": "shop@example.com",
    "fields": [{"name": "first_name", "label": "First name"}],
}


def publish(site: TestClient, **values: Any) -> dict[str, Any]:
    page = created(
        site, "/api/cms/pages", **{"slug": "spring", "title": "Spring", "source": "# Hello"} | values
    )
    answer = site.post(f"/api/cms/pages/{page['id']}/publish")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


class Post:
    """What the provider was asked to send, and its answer."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.outcome: Any = Accepted("x")

    def send(self, body: bytes, **_: Any) -> Any:
        self.bodies.append(body)
        return self.outcome


def fill_in(site: TestClient, slug: str = "spring", **values: str) -> Any:
    form = {"email": "ada@example.com", "consent": "yes"} | values
    return site.post(f"/p/{slug}/sign-up", data=form, headers={"Authorization": ""}, follow_redirects=False)


def the(database: Database, model: type[Any]) -> Any:
    with database.reading() as s:
        return s.scalars(select(model)).one_or_none()


def confirm_path(database: Database) -> str:
    return f"/p/confirm/{confirm_token(secret_key(get_settings()), the(database, SignUp).id)}"
