"""Signatures, checked by SendGrid's own verifier and by hand."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest
from sendgrid.helpers.eventwebhook import EventWebhook

from sandbox.journal import Waiting
from sandbox.keys import ensure_keypair, load_private_key, sign_events, sign_report
from sandbox.webhooks import pause_after, posts_of, wire_form

BODY = b'[{"email":"ann@example.com"},\r\n{"email":"bob@example.com"}]\r\n'


def test_sendgrids_verifier_takes_the_signature_and_no_other_body(tmp_path: Path) -> None:
    public = ensure_keypair(tmp_path)
    webhook = EventWebhook()
    key = webhook.convert_public_key_to_ecdsa(public)
    signature = sign_events(load_private_key(tmp_path), "1790000000", BODY)
    assert webhook.verify_signature(BODY.decode(), signature, "1790000000", key)
    assert not webhook.verify_signature(BODY.decode() + " ", signature, "1790000000", key)
    assert not webhook.verify_signature(BODY.decode(), signature, "1790000001", key)


def test_the_key_pair_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    home = tmp_path / "new" / "sandbox"
    public = ensure_keypair(home)
    assert ensure_keypair(home) == public
    assert stat.S_IMODE((home / "webhook_key.pem").stat().st_mode) == 0o600
    assert ensure_keypair(tmp_path / "other") != public


def test_reports_are_signed_over_timestamp_and_bytes() -> None:
    expected = hmac.new(b"secret", b"1790000000Status=DELIVRD", hashlib.sha256).hexdigest()
    assert sign_report("secret", "1790000000", b"Status=DELIVRD") == expected


def test_reports_come_in_every_way_and_case() -> None:
    forms = set()
    for number in range(1, 10):
        query, body, headers = wire_form(Waiting(number, 1, b'{"CustomerID":"a-1"}', 0))
        assert bool(query) != bool(body)
        forms.add(query or f"{headers['Content-Type']} {body.decode()}")
    names = ("CustomerID", "customerid", "CUSTOMERID")
    form, json = "application/x-www-form-urlencoded", "application/json"
    assert forms == {
        *(f"{name}=a-1" for name in names),
        *(f"{form} {name}=a-1" for name in names),
        *(f'{json} {{"{name}":"a-1"}}' for name in names),
    }


def test_a_post_holds_as_many_parcels_as_sendgrid_would_send() -> None:
    parcels = [Waiting(n, 400, b"x", 0) for n in range(5)]
    assert [[p.id for p in post] for post in posts_of(parcels)] == [[0, 1], [2, 3], [4]]
    large = [Waiting(n, 1, b"x" * 400_000, 0) for n in range(2)]
    assert [len(post) for post in posts_of(large)] == [1, 1]


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 0.5), (1, 1.0), (3, 4.0), (10, 30.0), (10**6, 30.0)])
def test_the_pause_grows_up_to_half_a_minute(attempts: int, seconds: float) -> None:
    assert pause_after(attempts) == seconds
