"""Email: a batch is one request of up to 1,000 personalizations."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from db.engine import Database, Session
from db.models import TemplateVersion
from db.queries import executions, ledger
from db.queries.ledger import Recipient
from db.queries.transitions import ClaimedBatch
from db.states import Failure
from tasks.feedback.unsubscribe_links import Reference, unsubscribe_url
from tasks.providers.outcomes import (
    Accepted,
    BatchOutcome,
    NotTaken,
    PartlyRefused,
    RequestRefused,
    Unknown,
)
from tasks.providers.sendgrid import SendGridMessenger
from tasks.providers.sendgrid_payload import (
    Envelope,
    PayloadInvalid,
    Personalization,
    build_mail,
)
from tasks.sending.attempts import Record, refusal_error, return_batch
from tasks.sending.limiter import Pace
from tasks.templates.context import client_context, client_fields
from tasks.templates.footer import with_unsubscribe_link
from tasks.templates.personalization import (
    CompiledEmail,
    FilledEmail,
    RenderFailed,
    TooLarge,
    compile_email,
)

_PAYLOAD_TOO_LARGE = 413


@dataclass(frozen=True)
class EmailStep:
    """What all batches of an execution's step share: loaded and compiled once per process."""

    execution_uid: str
    envelope: Envelope
    email: CompiledEmail
    fields: frozenset[str]


@dataclass(frozen=True)
class EmailAttempt:
    """A rendered batch of email. `whole` is what its only recipient gets, whose values are too many for tags."""

    batch: ClaimedBatch
    step: EmailStep
    recipients: Mapping[int, Personalization]
    failed: Mapping[int, str]
    post: Callable[[bytes], BatchOutcome]
    alone: Collection[int] = ()
    whole: FilledEmail | None = None
    parts: Mapping[int, int] = field(default_factory=dict)

    @property
    def ready(self) -> Collection[int]:
        return self.recipients.keys()

    @property
    def requests(self) -> int:
        return 1

    @property
    def burst(self) -> int:
        return len(self.recipients)

    def send(self, message_ids: set[int], *, pace: Pace, deadline: float) -> Record:
        """One request for exactly these messages. Its time-out is far below the lease, so `deadline` is kept."""
        ids = sorted(message_ids)
        content = self.whole or self.step.email
        try:
            body = build_mail(self.step.envelope, content, [self.recipients[key] for key in ids])
        except PayloadInvalid as error:
            return self._record_refusal(RequestRefused(str(error), _PAYLOAD_TOO_LARGE))
        return self._record_of(self.post(body), ids)

    def _record_of(self, outcome: BatchOutcome, ids: Sequence[int]) -> Record:
        batch = self.batch
        match outcome:
            case Accepted(provider_message_id):
                return lambda s: ledger.accept_batch(s, batch, provider_message_id)
            case PartlyRefused(refused):
                reasons = {
                    ids[at]: f"{Failure.REFUSED}: {why}" for at, why in refused.items() if at < len(ids)
                }
                if not reasons:
                    # It names nobody we wrote to: sent again it would be refused again.
                    return self._record_refusal(RequestRefused(f"recipients unknown to us: {refused}"[:300]))
                return lambda s: ledger.refuse_messages(s, batch, reasons)
            case NotTaken(reason, retry_after):
                return lambda s: return_batch(s, batch, reason, retry_after)
            case RequestRefused():
                return self._record_refusal(outcome)
            case Unknown(reason):
                return lambda s: ledger.leave_unknown(s, batch, error=reason)

    def _record_refusal(self, refusal: RequestRefused) -> Record:
        if self.whole is not None and refusal.status == _PAYLOAD_TOO_LARGE:
            # It is this message that is too large, and no other: the execution goes on.
            reasons = dict.fromkeys(self.recipients, f"{Failure.TOO_LARGE}: {refusal.reason}")
            return lambda s: ledger.refuse_messages(s, self.batch, reasons)
        return refuse_request(self.batch, "SendGrid", refusal)


def refuse_request(batch: ClaimedBatch, provider: str, refusal: RequestRefused) -> Record:
    """Nothing was taken and nothing would be: give the batch back and pause, before the next one is refused too."""
    error = refusal_error(provider, refusal)

    def record(session: Session) -> None:
        # The execution's row is locked first, alone: two lanes that share it would wait for each other.
        executions.pause_with_failed_job(session, batch.execution_id, batch.id, error=error)
        ledger.return_batch(session, batch, error=error, delay_seconds=0)

    return record


class EmailSender:
    """Renders and sends email batches through SendGrid."""

    def __init__(
        self, database: Database, messenger: SendGridMessenger, *, public_url: str, key: bytes
    ) -> None:
        self._database = database
        self._messenger = messenger
        self._public_url = public_url
        self._key = key
        self._step = lru_cache(maxsize=64)(self._load_step)

    def fields(self, batch: ClaimedBatch) -> frozenset[str]:
        return self._step(batch.execution_id, batch.step_id).fields

    def render(self, batch: ClaimedBatch, recipients: Sequence[Recipient]) -> EmailAttempt:
        step = self._step(batch.execution_id, batch.step_id)
        ready: dict[int, Personalization] = {}
        failed: dict[int, str] = {}
        large: dict[int, tuple[Recipient, TooLarge]] = {}
        for recipient in recipients:
            match personalize(step, recipient, public_url=self._public_url, key=self._key):
                case Personalization() as personalization:
                    ready[recipient.message_id] = personalization
                case RenderFailed(reason):
                    failed[recipient.message_id] = f"{Failure.RENDER}: {reason}"
                case TooLarge() as too_large:
                    large[recipient.message_id] = (recipient, too_large)
        attempt = EmailAttempt(batch, step, ready, failed, self._messenger.send, alone=large.keys())
        return attempt if ready or len(large) != 1 else self._whole(attempt, *next(iter(large.values())))

    def _whole(self, attempt: EmailAttempt, recipient: Recipient, too_large: TooLarge) -> EmailAttempt:
        """The request of one recipient alone, whose values stand in the content itself."""
        step = attempt.step
        reference, url = _reference_and_url(step, recipient, self._public_url, self._key)
        alone = Personalization(recipient.address, _name(recipient), reference, {}, url)
        whole = step.email.filled(too_large.values)
        return replace(attempt, recipients={recipient.message_id: alone}, alone=(), whole=whole)

    def _load_step(self, execution_id: int, step_id: int) -> EmailStep:
        with self._database.reading() as session:
            execution = executions.get_execution(session, execution_id)
            step, version = executions.get_execution_step(session, step_id)
        return make_step(execution.uid, execution.flow_id, step.sender, version)


def make_step(
    execution_uid: str, flow_id: int, sender: Mapping[str, Any], version: TemplateVersion
) -> EmailStep:
    """Compile a template's version for the sender of a flow; it gets an unsubscribe link where it has none.

    Raises:
        liquid.exceptions.LiquidError: a source is broken.
    """
    html, text = with_unsubscribe_link(version.html, version.text)
    email = compile_email(version.subject, html, text)
    fields = client_fields(email.variables) | {"first_name", "last_name"}
    return EmailStep(execution_uid, envelope_of(sender, f"flow-{flow_id}"), email, fields)


def personalize(
    step: EmailStep, recipient: Recipient, *, public_url: str, key: bytes
) -> Personalization | RenderFailed | TooLarge:
    """What one recipient gets. `key` signs the unsubscribe link."""
    reference, url = _reference_and_url(step, recipient, public_url, key)
    values = step.email.render(client_context(recipient.client, url))
    if isinstance(values, RenderFailed | TooLarge):
        return values
    return Personalization(recipient.address, _name(recipient), reference, values, url)


def _reference_and_url(step: EmailStep, recipient: Recipient, public_url: str, key: bytes) -> tuple[str, str]:
    """What the provider's events come back with, and the link to unsubscribe."""
    reference = str(Reference(step.execution_uid, recipient.message_id))
    return reference, unsubscribe_url(public_url, key, reference)


def _name(recipient: Recipient) -> str:
    return f"{recipient.client['first_name']} {recipient.client['last_name']}"


def envelope_of(sender: Mapping[str, Any], category: str) -> Envelope:
    """The envelope of a flow's sender (from_email, from_name, reply_to), under one category of SendGrid's statistics."""
    return Envelope(
        from_email=sender["from_email"],
        from_name=sender.get("from_name") or "",
        reply_to=sender.get("reply_to") or "",
        categories=(category,),
    )
