"""Signatures of webhooks after Standard Webhooks (standardwebhooks.com): three headers that a receiver can check.

Signed is `id.timestamp.body` with HMAC-SHA256. With several secrets there are several signatures, so a receiver can
change its secret without losing a message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
NEW_KEY_BYTES: Final = 32
# Bounds of the standard for the length of a key.
MIN_KEY_BYTES: Final = 24
MAX_KEY_BYTES: Final = 64
# The full stop separates the id from the timestamp, so an id has none.
MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")


def new_secret() -> str:
    """Return a new random secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(NEW_KEY_BYTES)).decode("ascii")


def secret_key(secret: str) -> bytes:
    """Return the key inside a secret; raise ValueError, which does not contain it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"a webhook secret is {PREFIX} and then base64") from None
    if not secret.startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise ValueError(f"a webhook secret is {PREFIX} and then {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64")
    return key


def signed_headers(message_id: str, timestamp_s: int, body: bytes, webhook_secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of a message: its id, the time of this try (Unix, seconds), one signature for each secret.

    Raise ValueError for an id with other characters than letters, digits, `_` and `-`, and for a malformed secret.
    """
    if not MESSAGE_ID.fullmatch(message_id):
        raise ValueError("the id of a webhook message has characters that are not allowed")
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signatures = [hmac.new(secret_key(secret), signed, hashlib.sha256).digest() for secret in webhook_secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode('ascii')}" for digest in signatures),
    }
