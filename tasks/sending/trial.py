"""A test send: one real message to one address, outside the ledger and marked as a test."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from db.engine import Database, Session
from db.errors import Conflict, Invalid
from db.models import TemplateVersion
from db.queries.erasure import list_erased
from db.queries.flows import find_sender
from db.queries.suppressions import is_suppressed
from db.queries.templates import TemplateWithVersion
from db.states import Channel
from settings import Settings
from tasks.addresses import AddressInvalid, normalise_address
from tasks.erasure import by_erased_address
from tasks.providers.outcomes import Accepted, BatchOutcome, MessageOutcome, PartlyRefused
from tasks.providers.sendgrid_payload import AnyEmail, PayloadInvalid, Personalization, build_mail
from tasks.providers.sendmode_profiles import Sms
from tasks.sending.configuration import require_provider
from tasks.sending.email import envelope_of
from tasks.sending.factory import make_sendgrid, make_sendmode
from tasks.signing import secret_keys
from tasks.templates.context import client_context
from tasks.templates.footer import with_unsubscribe_link
from tasks.templates.liquid import Part
from tasks.templates.personalization import RenderFailed, TooLarge, compile_email, render_whole

TEST_REFERENCE = "test"
"""In place of a message's reference: events that come back with it belong to no message."""
TEST_MARK = "[Test] "


@dataclass(frozen=True)
class TrialOutcome:
    """`refusal` says why the provider did not (or may not) take it; None when it did."""

    provider_message_id: str | None
    refusal: str | None


def send_test(
    database: Database,
    settings: Settings,
    found: TemplateWithVersion,
    *,
    to: str,
    client: Mapping[str, Any],
    sender: Mapping[str, Any],
) -> TrialOutcome:
    """Render for `client` (columns of the clients table) and send to `to`.

    `sender` has from_email or sender_id; where it is empty, the sender of the newest flow that uses the template is
    taken.

    Raises:
        ProviderNotConfigured: there is no key.
        Invalid: `to` is no address of the template's channel, no sender is known, or the template cannot be rendered
            for this client.
        Conflict: the address is suppressed.
    """
    channel = found.template.channel
    require_provider(settings, channel)
    try:
        address = normalise_address(channel, to, settings.default_region)
    except AddressInvalid as error:
        raise Invalid("to", str(error)) from error
    with database.reading() as session:
        hashes = by_erased_address(secret_keys(settings), channel, [address])
        if is_suppressed(session, channel, address) or list_erased(session, channel, hashes):
            raise Conflict(f"{address} is suppressed: it must not be written to", "to")
        complete = _sender(session, found.template.id, sender)
    if channel is Channel.SMS:
        return _send_sms(settings, found.version, address, client, complete)
    return _send_email(settings, found.version, address, client, complete)


def _sender(session: Session, template_id: int, given: Mapping[str, Any]) -> dict[str, Any]:
    return {**find_sender(session, template_id), **{name: value for name, value in given.items() if value}}


def _send_email(
    settings: Settings,
    version: TemplateVersion,
    to: str,
    client: Mapping[str, Any],
    sender: Mapping[str, Any],
) -> TrialOutcome:
    if not sender.get("from_email"):
        raise Invalid("from_email", "a test email needs the address it comes from")
    url = f"{settings.public_url}/unsubscribe/{TEST_REFERENCE}"
    html, text = with_unsubscribe_link(version.html, version.text)
    compiled = compile_email(TEST_MARK + version.subject, html, text)
    values = compiled.render(client_context(client, url))
    if isinstance(values, RenderFailed):
        raise _unrenderable(values.reason)
    content: AnyEmail = compiled
    if isinstance(values, TooLarge):
        content, values = compiled.filled(values.values), {}
    envelope = envelope_of(sender, "test")
    try:
        body = build_mail(envelope, content, [Personalization(to, "", TEST_REFERENCE, values, url)])
    except PayloadInvalid as error:
        raise _unrenderable(str(error)) from error
    with closing(make_sendgrid(settings)) as messenger:
        return _outcome(messenger.send(body))


def _send_sms(
    settings: Settings,
    version: TemplateVersion,
    to: str,
    client: Mapping[str, Any],
    sender: Mapping[str, Any],
) -> TrialOutcome:
    if not sender.get("sender_id"):
        raise Invalid("sender_id", "a test SMS needs the sender it comes from")
    text = render_whole(version.text, Part.SMS, client_context(client))
    if isinstance(text, RenderFailed):
        raise _unrenderable(text.reason)
    with closing(make_sendmode(settings)) as messenger:
        return _outcome(messenger.send(Sms(to, TEST_MARK + text, sender["sender_id"], TEST_REFERENCE)))


def _outcome(outcome: BatchOutcome | MessageOutcome) -> TrialOutcome:
    match outcome:
        case Accepted(provider_message_id):
            return TrialOutcome(provider_message_id, None)
        case PartlyRefused(refused):
            return TrialOutcome(None, f"the provider did not take it: {'; '.join(refused.values())}")
        case _:
            return TrialOutcome(None, f"the provider did not take it: {outcome.reason}")


def _unrenderable(reason: str) -> Invalid:
    return Invalid("client_id", f"the template cannot be rendered for this client: {reason}")
