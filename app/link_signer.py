"""Links to results that anyone may use who has them, until they expire; for storage that gives none of its own.

The signature is an HMAC over the job and the time, with a key that lies in Redis beside the records: all services on
them honour each other's links.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from typing import Final, cast

import redis

from app.core.errors import ErrorCode, RequestError
from app.core.records.keys import Key

MAX_S: Final = 7 * 24 * 3600  # what S3 allows


class LinkSigner:
    """Sign links and check them; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def sign(self, job_id: str, expires_at: int) -> str:
        """Return the signature of a link to a job's result; the time is in seconds since the epoch."""
        message = f"result {job_id} {expires_at}".encode()
        return hmac.new(self._key(), message, hashlib.sha256).hexdigest()

    def check(self, job_id: str, expires_at: int, signature: str) -> None:
        """Raise RequestError: not_found for a link that nobody signed, result_expired for one that was good once."""
        if not hmac.compare_digest(self.sign(job_id, expires_at).encode(), signature.encode()):
            raise RequestError(ErrorCode.NOT_FOUND, "There is no such link.")
        if expires_at <= time.time():
            raise RequestError(ErrorCode.RESULT_EXPIRED, "The link has expired; ask for a new one.")

    def _key(self) -> bytes:
        """Return the key; the first who asks makes it."""
        self._redis.set(Key.LINK_KEY, secrets.token_hex(32), nx=True)
        return bytes.fromhex(cast(str, self._redis.get(Key.LINK_KEY)))
