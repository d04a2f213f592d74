from __future__ import annotations

import json
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.core.outgoing.signatures import new_secret, secret_key, signed_headers

BODY = json.dumps({"type": "job.succeeded", "data": {"id": "é"}}).encode()


def now_s():
    return int(time.time())


def test_a_receiver_verifies_the_message():
    secret = new_secret()
    headers = signed_headers("evt_1", now_s(), BODY, [secret])
    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_either_secret_verifies_during_a_change():
    old, new = new_secret(), new_secret()
    headers = signed_headers("evt_1", now_s(), BODY, [new, old])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        Webhook(secret).verify(BODY, headers)


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "secret"])
def test_a_changed_message_is_not_verified(change):
    secret = new_secret()
    headers = signed_headers("evt_1", now_s(), BODY, [secret])
    body = BODY + b" " if change == "body" else BODY
    if change == "id":
        headers["webhook-id"] = "evt_2"
    if change == "timestamp":
        headers["webhook-timestamp"] = str(now_s() - 1)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if change == "secret" else secret).verify(body, headers)


def test_the_signature_is_the_published_one():
    """The example of the specification's reference libraries."""
    headers = signed_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_secrets_are_new_and_long():
    assert new_secret() != new_secret() and len(secret_key(new_secret())) == 32


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_a", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%"]
)
def test_a_malformed_secret_is_an_error_that_does_not_show_it(secret):
    with pytest.raises(ValueError, match="webhook secret") as caught:
        signed_headers("evt_1", 1, BODY, [secret])
    assert len(secret) < 7 or secret not in str(caught.value)


@pytest.mark.parametrize("message_id", ["", "a.b", "a\r\nb", "a b", "é", "a" * 129])
def test_an_id_cannot_change_what_is_signed(message_id):
    with pytest.raises(ValueError, match="id"):
        signed_headers(message_id, 1, BODY, [new_secret()])
