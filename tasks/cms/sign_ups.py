"""Double opt-in: a form is filled in, a mail asks its owner, and only a click in that mail makes somebody a client who agreed."""

from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

import structlog

from db.engine import Database, Session
from db.errors import Conflict, IcsError, Invalid, NotFound
from db.models import SignUp
from db.queries import clients, sign_ups
from db.queries.client_lists import insert_members
from db.queries.cms_pages import get_version, hold_page
from db.queries.consents import ConsentOrigin, log_granted
from db.queries.custom_fields import check_custom_fields
from db.queries.erasure import list_erased
from db.queries.page_counts import add_counts
from db.queries.preferences import list_suppressed_scopes
from db.queries.suppressions import hold_gate
from db.states import OWN_WORDS, Channel, Consent, MailState, SignUpState, SuppressionReason
from settings import Settings
from tasks.addresses import mailbox_of
from tasks.cms.forms import SignUpForm, Typed, client_values, filled
from tasks.cms.links import CONFIRM_SECONDS, LinkOver, confirm_token, read_confirm
from tasks.cms.utm import Utm
from tasks.erasure import by_erased_address
from tasks.feedback.preferences import lift_own_words
from tasks.providers.outcomes import Accepted, BatchOutcome, NotTaken, PartlyRefused, RequestRefused
from tasks.providers.sendgrid_payload import PayloadInvalid, Personalization, build_mail
from tasks.sending.email import envelope_of
from tasks.sending.factory import make_sendgrid
from tasks.signing import secret_key, secret_keys
from tasks.templates.personalization import FilledEmail

log = structlog.get_logger()
MAILS_A_DAY: Final = 3
"""To one mailbox, from all forms: nobody's mailbox is filled by somebody else's typing."""
TRIED_FOR: Final = timedelta(hours=24)
"""So long a mail that the provider could not take is tried again: whoever typed the address waits for it."""
_FIRST_PAUSE: Final = 60.0
_LONGEST_PAUSE: Final = 3600.0
SOURCE: Final = "sign-up form"
_OTHERS: Final = tuple(each for each in SuppressionReason if each not in OWN_WORDS)
_AT_A_TIME: Final = 100
_KNOWN: Final = ("first_name", "last_name", "phone", "custom_fields")


def sign_up(
    database: Database,
    settings: Settings,
    *,
    page_id: int,
    version: int,
    typed: Typed,
    utm: Utm,
    address: str,
) -> int | None:
    """Store what was typed, and that a mail is to be sent; None: too many mails to this mailbox today, and nothing is stored.

    Raises:
        NotFound: the page is gone.
        Invalid: a custom field does not take what was typed.
    """

    def work(session: Session) -> int | None:
        values = client_values(typed.values)
        check_custom_fields(session, values.get("custom_fields", {}))
        # Behind the gate, so that of many at the same moment no more than a few are stored.
        hold_gate(session, alone=True)
        hold_page(session, page_id)
        mailbox = mailbox_of(typed.email)
        if sign_ups.count_recent(session, mailbox, hours=24) >= MAILS_A_DAY:
            return None
        row = sign_ups.insert_sign_up(
            session,
            page_id=page_id,
            version=version,
            email=typed.email,
            mailbox=mailbox,
            given=values,
            utm=utm._asdict(),
            address=address,
        )
        add_counts(session, "sign_ups", {(page_id, datetime.now(UTC).date(), *utm): 1})
        return row.id

    return database.run(work)


def send_confirmations(database: Database, settings: Settings) -> int:
    """Send the mails that wait, each at most once; returns how many were taken by the provider."""
    sent = 0
    with database.reading() as session:
        waiting = sign_ups.list_queued_mail(session, limit=_AT_A_TIME)
    for sign_up_id in waiting:
        sent += send_confirmation(database, settings, sign_up_id)
    return sent


def send_confirmation(database: Database, settings: Settings, sign_up_id: int) -> bool:
    """Send the mail of one sign-up, if nobody else does; whether the provider took it.

    That it is being sent is committed before the socket opens: a process that dies leaves it `sending`, and it is not sent again.
    """
    if not settings.sendgrid_api_key.get_secret_value():
        log.warning("no key of the provider: sign-ups wait", sign_up_id=sign_up_id)
        return False
    row = database.run(lambda s: _claim(s, settings, sign_up_id))
    if row is None:
        return False
    try:
        body = _mail(database, settings, row)
    except (IcsError, PayloadInvalid) as error:
        why = type(error).__name__
        database.run(lambda s: sign_ups.record_mail(s, sign_up_id, MailState.FAILED, error=why))
        return False
    with closing(make_sendgrid(settings)) as messenger:
        outcome = messenger.send(body)
    state, reason = _verdict(outcome, datetime.now(UTC) - row.created_at)
    pause = _pause(outcome, row.attempts) if state is MailState.QUEUED else None
    database.run(lambda s: sign_ups.record_mail(s, sign_up_id, state, error=reason, again_in=pause))
    return state is MailState.SENT


def is_pending(database: Database, settings: Settings, token: str) -> bool:
    """Whether the link still has something to confirm. Raises LinkOver."""
    sign_up_id = read_confirm(secret_keys(settings), token)
    with database.reading() as session:
        row = session.get(SignUp, sign_up_id)
        if row is None or row.state is SignUpState.EXPIRED:
            raise LinkOver
        return row.state is SignUpState.PENDING


def confirm(database: Database, settings: Settings, token: str) -> tuple[int, int]:
    """The owner agrees: he becomes a client, or the client he is agrees. Saying it again changes nothing.

    Returns:
        Page and version, for the words of thanks.

    Raises:
        LinkOver: the link is not ours, or its time is over.
    """
    sign_up_id = read_confirm(secret_keys(settings), token)

    def work(session: Session) -> tuple[int, int]:
        hold_gate(session, alone=True)
        row = sign_ups.lock_sign_up(session, sign_up_id)
        if row.state is SignUpState.EXPIRED:
            raise LinkOver
        if row.state is SignUpState.PENDING and row.email is not None:
            _take_in(session, settings, row, row.email)
        return row.page_id, row.version

    return database.run(work)


def expire_old(database: Database) -> int:
    """Forget what nobody confirmed in time; returns how many."""
    expired, age = 0, timedelta(seconds=CONFIRM_SECONDS)
    while some := database.run(lambda s: sign_ups.expire_sign_ups(s, older_than=age, limit=1_000)):
        expired += some
    return expired


def _take_in(session: Session, settings: Settings, row: SignUp, email: str) -> None:
    form = _form_of(session, row)
    origin = ConsentOrigin(SOURCE, form.consent_text, datetime.now(UTC))
    agreed = {"email_consent": Consent.GRANTED}
    if list_erased(
        session, Channel.EMAIL, list(by_erased_address(secret_keys(settings), Channel.EMAIL, [email]))
    ):
        raise LinkOver
    there = next(iter(clients.list_clients(session, after=0, limit=1, email=email).items), None)
    if there is None:
        client_id = _insert(session, {"email": email, **row.given, **agreed}, origin)
    else:
        client_id, before = there.id, there.email_consent
        known = {name: getattr(there, name) for name in _KNOWN}
        try:
            with session.begin_nested():
                clients.update_client(session, client_id, filled(known, row.given) | agreed, origin=origin)
        except (Conflict, Invalid):
            clients.update_client(session, client_id, agreed, origin=origin)
        if before is Consent.GRANTED:
            # Agreed before, perhaps in other words or unsubscribed since: that he agreed now, to these, is evidence of its own.
            log_granted(session, client_id, Channel.EMAIL, origin)
    lift_own_words(session, Channel.EMAIL, email, source=SOURCE)
    if form.client_list_id is not None:
        with suppress(
            NotFound, Conflict
        ):  # Deleted meanwhile, or made dynamic: who agreed is a client all the same.
            insert_members(session, form.client_list_id, [client_id])
    utm = Utm(**row.utm)
    sign_ups.confirm_sign_up(session, row, client_id=client_id)
    add_counts(session, "conversions", {(row.page_id, datetime.now(UTC).date(), *utm): 1})


def _insert(session: Session, values: dict[str, object], origin: ConsentOrigin) -> int:
    """What else was typed may not fit any more, or be somebody else's phone: the address and the consent are what counts."""
    try:
        with session.begin_nested():
            return clients.insert_client(session, values, origin=origin).id
    except (Conflict, Invalid):
        bare = {name: values[name] for name in ("email", "email_consent")}
        return clients.insert_client(session, bare, origin=origin).id


def _claim(session: Session, settings: Settings, sign_up_id: int) -> SignUp | None:
    hold_gate(session, alone=False)
    row = sign_ups.claim_mail(session, sign_up_id)
    if row is None or row.email is None:
        return None
    hashes = by_erased_address(secret_keys(settings), Channel.EMAIL, [row.email])
    blocked = list_suppressed_scopes(session, Channel.EMAIL, row.email, reasons=_OTHERS)
    if blocked or list_erased(session, Channel.EMAIL, list(hashes)):
        # A bounce, a complaint, somebody who was erased: not even a question goes there.
        sign_ups.record_mail(session, sign_up_id, MailState.HELD)
        return None
    return row


def _mail(database: Database, settings: Settings, row: SignUp) -> bytes:
    with database.reading() as session:
        form = _form_of(session, row)
    url = f"{settings.public_url}/p/confirm/{confirm_token(secret_key(settings), row.id)}"
    html = (
        f"<p>{escape(form.consent_text)}</p>"
        f'<p><a href="{escape(url)}">Yes, this is what I want</a></p>'
        "<p>If you did not ask for this, do nothing: you will not hear from us again.</p>"
    )
    text = (
        f"{form.consent_text}\n\nYes, this is what I want:\n{url}\n\n"
        "If you did not ask for this, do nothing: you will not hear from us again.\n"
    )
    envelope = envelope_of({"from_email": form.from_email, "from_name": form.from_name}, "sign-up")
    email = FilledEmail(form.subject, html, text)
    assert row.email is not None
    return build_mail(envelope, email, [Personalization(row.email, "", f"sign-up-{row.id}", {}, "")])


def _form_of(session: Session, row: SignUp) -> SignUpForm:
    stored = get_version(session, row.page_id, row.version).form
    if stored is None:
        raise LinkOver
    return SignUpForm.of(stored)


def _pause(outcome: BatchOutcome, attempts: int) -> float:
    """Seconds until the mail is tried again: twice as long each time, and as long as the provider asks for."""
    wanted = (outcome.retry_after if isinstance(outcome, NotTaken) else None) or 0.0
    return min(max(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 10), wanted), _LONGEST_PAUSE)


def _verdict(outcome: BatchOutcome, age: timedelta) -> tuple[MailState, str | None]:
    match outcome:
        case Accepted():
            return MailState.SENT, None
        case NotTaken() if age < TRIED_FOR:
            return MailState.QUEUED, outcome.reason
        case PartlyRefused() | RequestRefused() | NotTaken():
            return MailState.FAILED, "the provider did not take it"
        case _:
            # It may have gone out: `sending` it stays, and nobody sends it again.
            return MailState.SENDING, outcome.reason
