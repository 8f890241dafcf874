"""Webhooks of the providers: verify the raw bytes, commit them, answer, apply.

An unsigned or wrongly signed request writes nothing. Whatever was answered with 2xx is in the inbox, and is applied
at once, or by the scheduled Prefect flow after a crash.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import PlainTextResponse, Response

from api.dependencies import SettingsDep
from api.errors import Refusal, WebhookRefused, responses
from db.queries.webhooks import NewDelivery
from settings import Settings
from tasks.feedback.applier import Applier
from tasks.feedback.inbox import Inbox, NotStored
from tasks.feedback.sources import Source
from tasks.providers import sendgrid_events, sendmode_events

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


def get_applier(request: Request) -> Applier:
    """The applier of this process; see `api/app.py`."""
    applier: Applier = request.app.state.applier
    return applier


def get_inbox(request: Request) -> Inbox:
    """The inbox of this process; see `api/app.py`."""
    inbox: Inbox = request.app.state.inbox
    return inbox


ApplierDep = Annotated[Applier, Depends(get_applier)]
InboxDep = Annotated[Inbox, Depends(get_inbox)]
_REFUSALS = responses(401, 403, 413, 503)


@router.post("/sendgrid", status_code=204, response_class=Response, responses=_REFUSALS)
async def sendgrid(request: Request, settings: SettingsDep, inbox: InboxDep, applier: ApplierDep) -> Response:
    """SendGrid's Event Webhook, signed (ECDSA)."""
    body = await request.body()
    _verify_sendgrid(settings, request, body)
    await _receive(inbox, applier, request, Source.SENDGRID, body)
    return Response(status_code=204)


async def sendmode_delivery(
    request: Request,
    settings: SettingsDep,
    inbox: InboxDep,
    applier: ApplierDep,
    secret: str | None = None,
) -> PlainTextResponse:
    """A delivery report of Sendmode; answered with the word that Sendmode waits for."""
    return await _sendmode(request, settings, inbox, applier, Source.SENDMODE_DELIVERY, secret)


async def sendmode_reply(
    request: Request,
    settings: SettingsDep,
    inbox: InboxDep,
    applier: ApplierDep,
    secret: str | None = None,
) -> PlainTextResponse:
    """A reply to an SMS."""
    return await _sendmode(request, settings, inbox, applier, Source.SENDMODE_REPLY, secret)


def _add_sendmode(path: str, endpoint: Callable[..., Any]) -> None:
    """Sendmode calls by GET or POST, and proves itself by a signature or by a secret at the end of the path."""
    for method in ("GET", "POST"):
        for suffix in ("", "/{secret}"):
            router.add_api_route(
                path + suffix,
                endpoint,
                methods=[method],
                response_class=PlainTextResponse,
                responses=_REFUSALS,
                operation_id=f"{endpoint.__name__}_{method.lower()}{'_by_secret' if suffix else ''}",
            )


_add_sendmode("/sendmode/delivery", sendmode_delivery)
_add_sendmode("/sendmode/reply", sendmode_reply)


async def _sendmode(
    request: Request,
    settings: Settings,
    inbox: Inbox,
    applier: Applier,
    source: Source,
    secret: str | None,
) -> PlainTextResponse:
    body = await request.body()
    _verify_sendmode(settings, request, body, secret)
    await _receive(inbox, applier, request, source, body)
    return PlainTextResponse("True")


async def _receive(inbox: Inbox, applier: Applier, request: Request, source: Source, body: bytes) -> None:
    """Commit the raw webhook; it is applied behind the answer."""
    content_type = request.headers.get("content-type", "")
    try:
        await inbox.store(NewDelivery(source, body, content_type, request.url.query))
    except NotStored as error:
        raise WebhookRefused(503, Refusal.NOT_STORED, "the webhook was not stored: send it again") from error
    applier.notify()
    request.app.state.measurements.count_webhook(source, len(body))


def _verify_sendgrid(settings: Settings, request: Request, body: bytes) -> None:
    keys = settings.webhook_public_keys
    if not keys:
        raise WebhookRefused(
            403, Refusal.NOT_CONFIGURED, "no key to verify with: set SENDGRID_WEBHOOK_PUBLIC_KEYS"
        )
    signature = request.headers.get(sendgrid_events.SIGNATURE_HEADER, "")
    timestamp = request.headers.get(sendgrid_events.TIMESTAMP_HEADER, "")
    if not signature or not timestamp:
        raise WebhookRefused(401, Refusal.UNSIGNED, "the request is not signed")
    if not sendgrid_events.verify_signature(keys, signature, timestamp, body):
        raise WebhookRefused(403, Refusal.WRONG_SIGNATURE, "the signature is wrong")
    _check_age(settings, timestamp)


def _verify_sendmode(settings: Settings, request: Request, body: bytes, secret: str | None) -> None:
    expected = settings.sendmode_webhook_secret.get_secret_value()
    if not expected:
        raise WebhookRefused(
            403, Refusal.NOT_CONFIGURED, "no secret to verify with: set SENDMODE_WEBHOOK_SECRET"
        )
    if secret is not None:
        if not sendmode_events.is_secret(expected, secret):
            raise WebhookRefused(403, Refusal.WRONG_SIGNATURE, "the secret is wrong")
        return
    signature = request.headers.get(sendmode_events.SIGNATURE_HEADER, "")
    timestamp = request.headers.get(sendmode_events.TIMESTAMP_HEADER, "")
    if not signature or not timestamp:
        raise WebhookRefused(401, Refusal.UNSIGNED, "the request is not signed")
    signed = request.url.query.encode() if request.method == "GET" else body
    if not sendmode_events.verify_signature(expected, signature, timestamp, signed):
        raise WebhookRefused(403, Refusal.WRONG_SIGNATURE, "the signature is wrong")
    _check_age(settings, timestamp)


def _check_age(settings: Settings, timestamp: str) -> None:
    age = sendgrid_events.age_seconds(timestamp, datetime.now(UTC))
    if age is None or not -300 <= age <= settings.webhook_max_age_seconds:
        raise WebhookRefused(
            403, Refusal.TOO_OLD, "the signature is too old, see ICS_WEBHOOK_MAX_AGE_SECONDS"
        )
