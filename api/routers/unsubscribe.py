"""Links in messages: a page that changes nothing, one click that unsubscribes (RFC 8058), and a page of choices.

There is no cookie and no login here: the signed link is all that is asked for. So nobody's browser can be made to send more than
what whoever knows the link may send anyway, and a token against forged requests would protect nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse
from python_multipart.exceptions import ParseError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import responses
from api.pages.preference_page import HEADERS, done_page, preference_page
from db.queries.preferences import MOST_TOPICS
from db.states import Channel
from tasks.feedback.preferences import Wishes, read_preferences, save_preferences, unsubscribe
from tasks.feedback.unsubscribe_links import read_token
from tasks.signing import secret_keys

router = APIRouter(tags=["unsubscribe"])
Token = Annotated[str, Path(max_length=100)]
_MOST_FIELDS = MOST_TOPICS + 20


@router.head("/unsubscribe/{token}", include_in_schema=False)
@router.get("/unsubscribe/{token}", response_class=HTMLResponse, responses=responses(404))
def show_preferences(database: DatabaseDep, settings: SettingsDep, token: Token) -> HTMLResponse:
    """What is chosen now. Link scanners open it, so it changes nothing."""
    reference = read_token(secret_keys(settings), token)
    return HTMLResponse(preference_page(read_preferences(database, reference)), headers=HEADERS)


@router.post("/unsubscribe/{token}", response_class=HTMLResponse, responses=responses(404, 413))
async def change_preferences(
    request: Request, database: DatabaseDep, settings: SettingsDep, token: Token
) -> HTMLResponse:
    """One click of a mail client (`List-Unsubscribe=One-Click`), or the form of the page. Committed before the answer.

    A body that cannot be read is one click as well: who posts here wants less mail, and never more.
    """
    reference = read_token(secret_keys(settings), token)
    form = await _form(request)
    action = form.get("action")
    if action not in ("save", "nothing"):
        await run_in_threadpool(unsubscribe, database, reference)
        return HTMLResponse(done_page(), headers=HEADERS)
    wishes = _wishes(form) if action == "save" else Wishes((), ())
    saved = await run_in_threadpool(save_preferences, database, reference, wishes)
    return HTMLResponse(preference_page(saved, is_saved=True), headers=HEADERS)


async def _form(request: Request) -> FormData:
    """urlencoded or multipart; nothing where there is neither."""
    try:
        return await request.form(max_files=0, max_fields=_MOST_FIELDS, max_part_size=1024)
    except (HTTPException, ParseError, UnicodeDecodeError):
        return FormData()


def _wishes(form: FormData) -> Wishes:
    channels = {each.value: each for each in Channel}
    ticked = [channels[each] for each in _texts(form.getlist("channel")) if each in channels]
    topics = [
        int(each)
        for each in _texts(form.getlist("topic"))
        if each.isascii() and each.isdigit() and len(each) < 19
    ]
    return Wishes(ticked, topics)


def _texts(values: Sequence[object]) -> Iterable[str]:
    return (each for each in values if isinstance(each, str))
