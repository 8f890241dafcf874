"""What a send would do: counts and sizes, nobody's data."""

from api.schemas.base import Output
from db.states import Channel, Exclusion, Failure
from tasks.sending.dry_run import DryRun
from tasks.templates.personalization import RenderProblem
from tasks.templates.sms import Encoding


class ProblemOut(Output):
    """A field of the flow (or a variable of the environment) and what is wrong with it."""

    field: str
    message: str


class AudienceOut(Output):
    """`total` clients are on the list; `recipients` would be written to, the others are in `exclusions`."""

    total: int
    recipients: int
    exclusions: dict[Exclusion, int]


class EmailSizesOut(Output):
    """Bytes of requests: each has `constant_bytes`, and those of its recipients.

    Exact when the sample is the whole audience, extrapolated to full batches else. `requests_over_limit` would be
    refused: SendGrid takes less than 30 MB.
    """

    constant_bytes: int
    bytes_per_recipient_mean: float
    bytes_per_recipient_max: int
    largest_request_bytes: int
    requests_over_limit: int


class SmsSizesOut(Output):
    """`parts` (number of parts to messages) and `encodings` count the sample's texts, those too long to be sent too;
    `estimated_parts` is what the whole send would cost."""

    parts: dict[int, int]
    encodings: dict[Encoding, int]
    estimated_parts: int


class SampleOut(Output):
    """Who was rendered. `failures` are those of the sample that would not be sent, by reason; `alone` those that take a
    request of their own, since they have over 10,000 bytes of personal values."""

    recipients: int
    is_whole_audience: bool
    failures: dict[RenderProblem | Failure, int]
    alone: int


class DryRunOut(Output):
    """What a send would do now. What cannot be told because of the `problems` is null.

    `missing` has the number of recipients for whom a variable of the template is empty, where there are any. `seconds`
    is the least time that the rate limits allow; null without limits.
    """

    flow_id: int
    channel: Channel | None
    problems: list[ProblemOut]
    audience: AudienceOut | None
    missing: dict[str, int]
    sample: SampleOut | None
    email: EmailSizesOut | None
    sms: SmsSizesOut | None
    requests: int | None
    seconds: float | None

    @classmethod
    def of(cls, found: DryRun) -> "DryRunOut":
        measured = found.measured
        sample = email = sms = None
        if measured is not None:
            sample = SampleOut(
                recipients=measured.sampled,
                is_whole_audience=measured.is_whole,
                failures=dict(measured.failures),
                alone=measured.alone,
            )
            email = EmailSizesOut.model_validate(measured.email) if measured.email else None
            sms = SmsSizesOut.model_validate(measured.sms) if measured.sms else None
        return cls(
            flow_id=found.flow_id,
            channel=found.channel,
            problems=[ProblemOut.model_validate(problem) for problem in found.problems],
            audience=AudienceOut.model_validate(found.audience) if found.audience else None,
            missing=dict(found.missing),
            sample=sample,
            email=email,
            sms=sms,
            requests=found.requests,
            seconds=found.seconds,
        )
