"""SMS: a batch is claimed together and sent as single requests, many at a time."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import random

from db.engine import Database, Session
from db.queries import executions, ledger, rate_limits
from db.queries.ledger import Recipient
from db.queries.transitions import ClaimedBatch
from db.states import Failure
from tasks.feedback.unsubscribe_links import Reference
from tasks.providers.outcomes import (
    Accepted,
    MessageOutcome,
    MessageRefused,
    NotTaken,
    RequestRefused,
    Unknown,
)
from tasks.providers.sendmode import SendmodeMessenger
from tasks.providers.sendmode_profiles import Sms
from tasks.sending.attempts import Record, refusal_error
from tasks.sending.backoff import retry_delay
from tasks.sending.limiter import Pace
from tasks.templates.context import client_context, client_fields
from tasks.templates.liquid import Part, variables
from tasks.templates.personalization import RenderFailed, render_whole
from tasks.templates.sms import SmsSize, measure_sms


@dataclass(frozen=True)
class SmsStep:
    """What all batches of an execution's step share."""

    execution_uid: str
    sender_id: str
    text: str
    fields: frozenset[str]


@dataclass(frozen=True)
class SmsAttempt:
    """A rendered batch of SMS."""

    batch: ClaimedBatch
    messages: Mapping[int, Sms]
    failed: Mapping[int, str]
    parts: Mapping[int, int]
    post: Callable[..., list[MessageOutcome]]
    concurrency: int

    @property
    def alone(self) -> Collection[int]:
        return ()

    @property
    def ready(self) -> Collection[int]:
        return self.messages.keys()

    @property
    def requests(self) -> int:
        return len(self.messages)

    @property
    def burst(self) -> int:
        return min(self.concurrency, len(self.messages))

    def send(self, message_ids: set[int], *, pace: Pace, deadline: float) -> Record:
        """One request per message; none is begun after `deadline`."""
        ids = sorted(message_ids)
        outcomes = self.post([self.messages[key] for key in ids], begin_at=pace.from_now(), deadline=deadline)
        return record_of(self.batch, dict(zip(ids, outcomes, strict=True)))


def record_of(batch: ClaimedBatch, outcomes: Mapping[int, MessageOutcome]) -> Record:
    """The transaction that records the outcomes, whatever mixture they are."""
    accepted = {key: out.provider_message_id for key, out in outcomes.items() if isinstance(out, Accepted)}
    failed = {
        key: f"{Failure.REFUSED}: {out.reason}"
        for key, out in outcomes.items()
        if isinstance(out, MessageRefused)
    }
    unknown = {key: out.reason for key, out in outcomes.items() if isinstance(out, Unknown)}
    waiting = [out for out in outcomes.values() if isinstance(out, NotTaken)]
    refusal = next((out for out in outcomes.values() if isinstance(out, RequestRefused)), None)
    asked = [out.retry_after for out in waiting if out.retry_after is not None]
    hold_off = max(asked, default=0.0)
    reasons = [*unknown.values(), *(out.reason for out in waiting)]
    # What was taken is progress: only a batch of which nothing was waits longer and longer.
    tries = 1 if accepted else batch.attempts
    delay = retry_delay(tries, max(asked, default=None), jitter=random()) if waiting else 0.0

    def record(session: Session) -> None:
        if refusal is not None:
            error = refusal_error("Sendmode", refusal)
            # The execution's row is locked first, alone: two lanes that share it would wait for each other.
            executions.pause_with_failed_job(session, batch.execution_id, batch.id, error=error)
        ledger.record_sms(
            session,
            batch,
            accepted=accepted,
            failed=failed,
            unknown=unknown,
            retry_delay=delay,
            is_attempt=not (accepted or asked),
            error=reasons[0] if reasons else None,
        )
        if hold_off:
            rate_limits.hold_off(session, rate_limits.PROVIDERS[batch.channel], hold_off)

    return record


@dataclass(frozen=True)
class RenderedSms:
    """The text of one recipient. One of too many parts is not sent."""

    text: str
    size: SmsSize
    is_too_long: bool


def render_sms(source: str, recipient: Recipient, *, max_parts: int) -> RenderedSms | RenderFailed:
    """What one recipient gets."""
    text = render_whole(source, Part.SMS, client_context(recipient.client))
    if isinstance(text, RenderFailed):
        return text
    size = measure_sms(text)
    return RenderedSms(text, size, is_too_long=size.parts > max_parts)


class SmsSender:
    """Renders and sends SMS batches through Sendmode."""

    def __init__(self, database: Database, messenger: SendmodeMessenger, *, max_parts: int) -> None:
        self._database = database
        self._messenger = messenger
        self._max_parts = max_parts
        self._step = lru_cache(maxsize=64)(self._load_step)

    def fields(self, batch: ClaimedBatch) -> frozenset[str]:
        return self._step(batch.execution_id, batch.step_id).fields

    def render(self, batch: ClaimedBatch, recipients: Sequence[Recipient]) -> SmsAttempt:
        step = self._step(batch.execution_id, batch.step_id)
        messages: dict[int, Sms] = {}
        failed: dict[int, str] = {}
        parts: dict[int, int] = {}
        for recipient in recipients:
            sms = render_sms(step.text, recipient, max_parts=self._max_parts)
            key = recipient.message_id
            if isinstance(sms, RenderFailed):
                failed[key] = f"{Failure.RENDER}: {sms.reason}"
                continue
            count = sms.size.parts
            if sms.is_too_long:
                failed[key] = f"{Failure.TOO_MANY_PARTS}: {count} parts, {self._max_parts} are allowed"
                continue
            parts[key] = count
            reference = str(Reference(step.execution_uid, key))
            messages[key] = Sms(recipient.address, sms.text, step.sender_id, reference)
        return SmsAttempt(
            batch, messages, failed, parts, self._messenger.send_many, self._messenger.concurrency
        )

    def _load_step(self, execution_id: int, step_id: int) -> SmsStep:
        with self._database.reading() as session:
            execution = executions.get_execution(session, execution_id)
            step, version = executions.get_execution_step(session, step_id)
        fields = client_fields(variables(version.text, Part.SMS))
        return SmsStep(execution.uid, step.sender["sender_id"], version.text, fields)
