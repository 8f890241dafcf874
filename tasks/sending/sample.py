"""A sample of an audience, rendered as it would be sent, and what that says about the whole."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from db.models import TemplateVersion
from db.queries.ledger import Recipient
from db.states import Channel, Failure
from settings import Settings
from tasks.providers.sendgrid_payload import PayloadInvalid, Personalization, measure_mail
from tasks.sending.email import EmailStep, make_step, personalize
from tasks.sending.estimate import EmailSizes, SmsSizes, email_sizes, sms_sizes
from tasks.sending.sms import render_sms
from tasks.templates.liquid import Part, variables
from tasks.templates.personalization import RenderFailed, RenderProblem, TooLarge
from tasks.templates.sms import SmsSize

SAMPLE_SIZE = 1000
# As long as a real uid, so that links and references have their real size; the key signs nothing that is sent.
_UID = "0" * 12
_KEY = b"dry run"


@dataclass(frozen=True)
class Measured:
    """`sampled` recipients were rendered, all of them when it `is_whole`; `failures` could not be sent, by reason.

    `alone` are messages that take a request of their own, since their values are too many for one with others.
    """

    sampled: int
    is_whole: bool
    failures: Mapping[RenderProblem | Failure, int]
    alone: int = 0
    email: EmailSizes | None = None
    sms: SmsSizes | None = None


class Content(Protocol):
    """What a flow would send, compiled."""

    @property
    def variables(self) -> frozenset[str]:
        """Dotted paths of the client's data that it reads."""
        ...

    def find_refusal(self) -> str | None:
        """Why the provider would refuse every request of it, whoever is in it."""
        ...

    def measure(self, sample: Sequence[Recipient], *, recipients: int) -> Measured:
        """Render the sample, which stands for so many recipients."""
        ...


@dataclass(frozen=True)
class EmailContent:
    step: EmailStep
    public_url: str
    batch_size: int

    @property
    def variables(self) -> frozenset[str]:
        return self.step.email.variables

    def find_refusal(self) -> str | None:
        try:
            measure_mail(self.step.envelope, self.step.email, [])
        except PayloadInvalid as error:
            return str(error)
        return None

    def measure(self, sample: Sequence[Recipient], *, recipients: int) -> Measured:
        ready: dict[int, Personalization] = {}
        alone = 0
        failures: Counter[RenderProblem | Failure] = Counter()
        for place, recipient in enumerate(sample):
            match personalize(self.step, recipient, public_url=self.public_url, key=_KEY):
                case Personalization() as personalization:
                    ready[place] = personalization
                case RenderFailed(problem=problem):
                    failures[problem] += 1
                case TooLarge():
                    alone += 1
        size = measure_mail(self.step.envelope, self.step.email, list(ready.values()))
        is_whole = len(sample) >= recipients
        sizes = email_sizes(
            size.constant,
            dict(zip(ready, size.recipients, strict=True)),
            recipients=recipients,
            batch_size=self.batch_size,
            is_whole=is_whole,
        )
        return Measured(len(sample), is_whole, dict(failures), alone=alone, email=sizes)


@dataclass(frozen=True)
class SmsContent:
    text: str
    max_parts: int
    variables: frozenset[str]

    def find_refusal(self) -> str | None:
        return None

    def measure(self, sample: Sequence[Recipient], *, recipients: int) -> Measured:
        texts: list[SmsSize] = []
        failures: Counter[RenderProblem | Failure] = Counter()
        for recipient in sample:
            sms = render_sms(self.text, recipient, max_parts=self.max_parts)
            if isinstance(sms, RenderFailed):
                failures[sms.problem] += 1
                continue
            texts.append(sms.size)
            if sms.is_too_long:
                failures[Failure.TOO_MANY_PARTS] += 1
        sizes = sms_sizes(texts, max_parts=self.max_parts, recipients=recipients, sampled=len(sample))
        return Measured(len(sample), len(sample) >= recipients, dict(failures), sms=sizes)


def make_content(
    settings: Settings, channel: Channel, flow_id: int, sender: Mapping[str, Any], version: TemplateVersion
) -> Content:
    """Compile a version of a template as sending does. A sender that a draft does not have yet is left empty.

    Raises:
        liquid.exceptions.LiquidError: a source is broken.
    """
    if channel is Channel.SMS:
        return SmsContent(version.text, settings.sms_max_parts, variables(version.text, Part.SMS))
    step = make_step(_UID, flow_id, {"from_email": "", **sender}, version)
    return EmailContent(step, settings.public_url, settings.email_batch_size)
