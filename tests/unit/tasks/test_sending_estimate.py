"""What a sample says about a whole send."""

import pytest

from db.states import Channel
from tasks.providers.sendgrid_payload import MAX_BODY_BYTES
from tasks.sending.estimate import (
    EmailSizes,
    Limit,
    email_sizes,
    requests_needed,
    seconds_needed,
    sms_sizes,
)
from tasks.templates.sms import Encoding, SmsSize


@pytest.mark.parametrize(
    ("channel", "recipients", "requests"),
    [
        (Channel.EMAIL, 0, 0),
        (Channel.EMAIL, 1, 1),
        (Channel.EMAIL, 1000, 1),
        (Channel.EMAIL, 1001, 2),
        (Channel.SMS, 1001, 1001),
    ],
)
def test_email_leaves_in_batches_and_sms_one_by_one(channel: Channel, recipients: int, requests: int) -> None:
    assert requests_needed(channel, recipients, batch_size=1000) == requests


class TestSeconds:
    def test_without_limits_nobody_can_tell(self) -> None:
        assert seconds_needed(10, 10_000, []) is None
        assert seconds_needed(10, 10_000, [Limit()]) is None

    def test_the_slowest_limit_decides(self) -> None:
        provider = Limit(requests_per_second=2.0, messages_per_second=5_000.0)
        assert seconds_needed(10, 10_000, [provider]) == 5.0
        assert seconds_needed(10, 10_000, [provider, Limit(messages_per_second=100.0)]) == 100.0

    def test_nothing_to_send_takes_no_time(self) -> None:
        assert seconds_needed(0, 0, [Limit(1.0, 1.0)]) == 0.0


class TestEmailSizes:
    def test_of_the_whole_audience_are_those_of_its_batches(self) -> None:
        # The third recipient cannot be rendered, so the first batch has only two.
        sizes = {0: 100, 1: 110, 3: 130, 4: 90}
        found = email_sizes(1_000, sizes, recipients=5, batch_size=3, is_whole=True)
        assert found == EmailSizes(1_000, 107.5, 130, 1_220, 0)

    def test_of_a_sample_are_extrapolated_to_full_batches(self) -> None:
        found = email_sizes(1_000, {0: 100, 1: 101}, recipients=2_500, batch_size=1_000, is_whole=False)
        assert (found.bytes_per_recipient_mean, found.largest_request_bytes) == (100.5, 101_500)
        few = email_sizes(1_000, {0: 100, 1: 101}, recipients=10, batch_size=1_000, is_whole=False)
        assert few.largest_request_bytes == 2_005

    def test_count_the_requests_that_are_refused_for_their_size(self) -> None:
        a_third = MAX_BODY_BYTES // 3
        found = email_sizes(0, {0: a_third, 1: a_third}, recipients=8, batch_size=3, is_whole=False)
        assert (found.largest_request_bytes, found.requests_over_limit) == (MAX_BODY_BYTES, 2)
        assert (
            email_sizes(0, {0: 3, 1: 4}, recipients=2, batch_size=3, is_whole=True).requests_over_limit == 0
        )

    def test_of_nobody_are_those_of_no_request(self) -> None:
        assert email_sizes(7, {}, recipients=5, batch_size=3, is_whole=True) == EmailSizes(7, 0.0, 0, 0, 0)


def test_sms_parts_are_counted_and_extrapolated() -> None:
    texts = [
        SmsSize(Encoding.GSM7, 10, 10, 1),
        SmsSize(Encoding.GSM7, 200, 200, 2),
        SmsSize(Encoding.UCS2, 100, 100, 2),
        SmsSize(Encoding.UCS2, 400, 400, 6),
    ]
    # One of five could not be rendered, and the last one is too long to be sent.
    found = sms_sizes(texts, max_parts=4, recipients=50, sampled=5)
    assert found.parts == {1: 1, 2: 2, 6: 1}
    assert found.encodings == {Encoding.GSM7: 2, Encoding.UCS2: 2}
    assert found.estimated_parts == 50
    assert sms_sizes([], max_parts=4, recipients=0, sampled=0).estimated_parts == 0
