"""What a sample and a few counts say about the whole of a send. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from db.states import Channel
from tasks.providers.sendgrid_payload import MAX_BODY_BYTES
from tasks.templates.sms import Encoding, SmsSize


@dataclass(frozen=True)
class Limit:
    """A rate that a provider or a flow is held to; None where it is not limited."""

    requests_per_second: float | None = None
    messages_per_second: float | None = None


@dataclass(frozen=True)
class EmailSizes:
    """Bytes of request bodies. `constant_bytes` travel once a request, whoever is in it.

    `largest_request_bytes` is 0 when nobody of the sample can be written to. `requests_over_limit` is how many requests
    SendGrid would refuse for their size.
    """

    constant_bytes: int
    bytes_per_recipient_mean: float
    bytes_per_recipient_max: int
    largest_request_bytes: int
    requests_over_limit: int


@dataclass(frozen=True)
class SmsSizes:
    """`parts` (number of parts -> messages) and `encodings` count all texts of the sample, those that are too long too.

    `estimated_parts` is what the whole send would cost.
    """

    parts: Mapping[int, int]
    encodings: Mapping[Encoding, int]
    estimated_parts: int


def requests_needed(channel: Channel, recipients: int, *, batch_size: int) -> int:
    """Requests to the provider: one a batch of email, one an SMS."""
    return math.ceil(recipients / batch_size) if channel is Channel.EMAIL else recipients


def requests_alone(alone: int, *, recipients: int, sampled: int) -> int:
    """Requests more when `alone` of the `sampled` recipients cannot share one: each takes its own, and cuts a batch in
    two. At most so many: fewer where they stand side by side or at the end of a batch."""
    return 2 * round(alone * recipients / sampled) if sampled else 0


def seconds_needed(requests: int, messages: int, limits: Iterable[Limit]) -> float | None:
    """The least time in which so many requests with so many messages may leave; None when nothing limits them."""
    times = [
        amount / rate
        for limit in limits
        for amount, rate in (
            (requests, limit.requests_per_second),
            (messages, limit.messages_per_second),
        )
        if rate is not None
    ]
    return max(times, default=None)


def email_sizes(
    constant_bytes: int,
    personal_bytes: Mapping[int, int],
    *,
    recipients: int,
    batch_size: int,
    is_whole: bool,
) -> EmailSizes:
    """Sizes from the bytes of each recipient that can be rendered, by its place (from 0) in the sample.

    When the sample `is_whole` they are those of the very batches; else of full batches of average recipients.
    """
    if not personal_bytes:
        return EmailSizes(constant_bytes, 0.0, 0, 0, 0)
    mean = sum(personal_bytes.values()) / len(personal_bytes)
    bodies: Counter[int] = Counter()
    if is_whole:
        for place, size in personal_bytes.items():
            bodies[place // batch_size] += size
    else:
        for number in range(math.ceil(recipients / batch_size)):
            bodies[number] = math.ceil(mean * min(batch_size, recipients - number * batch_size))
    sizes = [constant_bytes + size for size in bodies.values()]
    return EmailSizes(
        constant_bytes,
        mean,
        max(personal_bytes.values()),
        max(sizes),
        sum(size >= MAX_BODY_BYTES for size in sizes),
    )


def sms_sizes(texts: Sequence[SmsSize], *, max_parts: int, recipients: int, sampled: int) -> SmsSizes:
    """Sizes from the texts of those among `sampled` recipients whose text can be rendered."""
    sent = sum(size.parts for size in texts if size.parts <= max_parts)
    return SmsSizes(
        dict(sorted(Counter(size.parts for size in texts).items())),
        dict(sorted(Counter(size.encoding for size in texts).items())),
        round(sent * recipients / sampled) if sampled else 0,
    )
