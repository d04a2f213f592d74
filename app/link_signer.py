"""Signed links to results, for a storage that has no links of its own.

Anyone who has a link can use it until it expires. The signature covers the job and the time of expiry. The key is in
Redis beside the records, so all services that share the records accept each other's links.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, cast

import redis
from itsdangerous import Signer

from app.core.errors import ErrorCode, RequestError
from app.core.records.keys import Key

MAX_S: Final = 7 * 24 * 3600  # the longest time that S3 allows for its links


class LinkSigner:
    """Signatures of links, made and checked with the key in Redis; every method may raise `redis.RedisError`."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client

    def sign(self, job_id: str, expires_at: int) -> str:
        """Return the signature of a link to a job's result, in URL-safe base64; `expires_at` is in Unix seconds."""
        return self._signer().get_signature(f"{job_id} {expires_at}").decode()

    def check(self, job_id: str, expires_at: int, signature: str) -> None:
        """Raise RequestError: not_found if the signature is wrong, result_expired if the link has expired."""
        if not self._signer().verify_signature(f"{job_id} {expires_at}", signature):
            raise RequestError(ErrorCode.NOT_FOUND, "There is no such link.")
        if expires_at <= time.time():
            hint = "Ask for a new link: GET /jobs/ID/result/link."
            raise RequestError(ErrorCode.RESULT_EXPIRED, "The link has expired; ask for a new one.", hint=hint)

    def _signer(self) -> Signer:
        """Return the signer with the shared key; the first call on this Redis creates the key."""
        self._redis.set(Key.LINK_KEY, secrets.token_hex(32), nx=True)
        key = cast(str, self._redis.get(Key.LINK_KEY))
        return Signer(key, salt="result link", key_derivation="hmac", digest_method=hashlib.sha256)
