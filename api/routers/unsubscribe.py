"""Unsubscribing from a link in a message: a page that changes nothing, and a POST that does (RFC 8058)."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse

from api.dependencies import DatabaseDep, SettingsDep
from api.errors import responses
from db.states import SuppressionReason
from tasks.feedback.apply import unsubscribe_message
from tasks.feedback.unsubscribe_links import read_token
from tasks.signing import secret_keys

router = APIRouter(tags=["unsubscribe"])
Token = Annotated[str, Path(max_length=100)]
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex",
}
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><body style="font:16px system-ui;max-width:32rem;margin:4rem auto;padding:0 1rem">
<h1>{title}</h1>{body}</body></html>"""
_FORM = """<p>You will get no more messages from us at this address.</p>
<form method="post"><button style="font:inherit;padding:.5rem 1rem">Unsubscribe</button></form>"""


@router.get("/unsubscribe/{token}", response_class=HTMLResponse, responses=responses(404))
def show_unsubscribe(settings: SettingsDep, token: Token) -> HTMLResponse:
    """A page with a button. Link scanners open it, so it changes nothing."""
    read_token(secret_keys(settings), token)
    return HTMLResponse(_PAGE.format(title="Unsubscribe?", body=_FORM), headers=_HEADERS)


@router.post("/unsubscribe/{token}", response_class=HTMLResponse, responses=responses(404))
def unsubscribe(database: DatabaseDep, settings: SettingsDep, token: Token) -> HTMLResponse:
    """Unsubscribe, by the button or by the mail client's one click. Committed before the answer; may be repeated."""
    reference = read_token(secret_keys(settings), token)
    unsubscribe_message(database, reference, reason=SuppressionReason.ONE_CLICK, source="unsubscribe link")
    return HTMLResponse(
        _PAGE.format(title="Unsubscribed", body="<p>You will get no more messages at this address.</p>"),
        headers=_HEADERS,
    )
