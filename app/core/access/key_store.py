"""API keys in Redis. Every method may raise `redis.RedisError`.

The rate of a key is limited by a bucket of tokens: a minute's calls may come at once, and then the bucket fills again
evenly. One Lua script takes from the bucket, so all processes of the API share one limit.
"""

from __future__ import annotations

import time
from typing import Final, cast

import redis

from app.core.access.api_key import ApiKey, Token, matches, new_key_id
from app.core.errors import CapacityError, ErrorCode, RequestError
from app.core.outgoing.signatures import new_secret
from app.core.records.keys import Key
from app.core.records.lua import Scripts

NO_TOKEN: Final = Token("0" * 12, "")
NO_DIGEST: Final = "0" * 64
# Read, parsed and compared where there is no such key or no former secret: a call is refused after the same work,
# whatever is wrong with its token. Digest, former, former_until, doc.
DECOY: Final = (NO_DIGEST, NO_DIGEST, "0", ApiKey(id=NO_TOKEN.key_id, name="decoy", created_at=0).model_dump_json())


class KeyStore:
    """Store of API keys."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis = client
        self._scripts = Scripts(client)

    def create(self, key: ApiKey) -> Token:
        """Save a new key and return its token, which cannot be read again."""
        token = Token.new(key.id)
        pipeline = self._redis.pipeline()
        pipeline.hset(Key.API_KEY + key.id, mapping={"doc": key.model_dump_json(), "digest": token.digest})
        pipeline.zadd(Key.API_KEYS, {key.id: key.created_at})
        pipeline.execute()
        return token

    def all(self) -> list[ApiKey]:
        """Return all keys, oldest first."""
        ids = cast("list[str]", self._redis.zrange(Key.API_KEYS, 0, -1))
        pipeline = self._redis.pipeline(transaction=False)
        for key_id in ids:
            pipeline.hget(Key.API_KEY + key_id, "doc")
        return [ApiKey.model_validate_json(doc) for doc in pipeline.execute() if doc]

    def revoke(self, key_id: str) -> None:
        """Delete a key with all its secrets; its jobs stay until they expire. Raises RequestError(not_found)."""
        pipeline = self._redis.pipeline()
        pipeline.delete(Key.API_KEY + key_id, Key.RATE + key_id)
        pipeline.zrem(Key.API_KEYS, key_id)
        if not pipeline.execute()[0]:
            raise _no_such_key()

    def rotate(self, key_id: str, overlap_s: int) -> Token:
        """Give a key a new secret and return its token; the secret before it works for `overlap_s` seconds more.

        Raises RequestError(not_found).
        """
        token = Token.new(key_id)
        if not self._scripts.flag("rotate_key", key_id=key_id, digest=token.digest, overlap_s=overlap_s):
            raise _no_such_key()
        return token

    def webhook_secrets(self, key_id: str) -> list[str]:
        """Return the secrets that sign the webhooks of a key, the newest first; none if there is no such key.

        A key gets its first secret here. Unlike the secret of a token it has to be kept as it is: it signs.
        """
        name = Key.API_KEY + key_id
        if not self._redis.exists(name):
            return []
        self._redis.hsetnx(name, "webhook_secret", new_secret())
        fields = cast("dict[str, str]", self._redis.hgetall(name))
        is_overlap = time.time() < float(fields.get("former_webhook_until", 0))
        return [fields["webhook_secret"], *([fields["former_webhook_secret"]] if is_overlap else [])]

    def rotate_webhook_secret(self, key_id: str, overlap_s: int) -> str:
        """Give a key a new webhook secret and return it; both sign for `overlap_s` seconds more.

        Raises RequestError(not_found).
        """
        before = self.webhook_secrets(key_id)
        if not before:
            raise _no_such_key()
        secret, until_s = new_secret(), int(time.time()) + overlap_s
        self._redis.hset(
            Key.API_KEY + key_id,
            mapping={
                "webhook_secret": secret,
                "former_webhook_secret": before[0],
                "former_webhook_until": str(until_s),
            },
        )
        return secret

    def find(self, text: str) -> ApiKey | None:
        """Return the key of a token that a caller sent, or None if the token is wrong, revoked or expired.

        All these cases take the same work, so the time does not tell which ids exist.
        """
        token = Token.parse(text) or NO_TOKEN
        known, digest, former, former_until, doc = self._scripts.texts("find_key", key_id=token.key_id, decoy=DECOY)
        now_s = time.time()
        is_right = matches(token, [digest, former if now_s < float(former_until) else NO_DIGEST])
        key = ApiKey.model_validate_json(doc)
        is_valid = key.expires_at is None or now_s < key.expires_at
        return key if known == "yes" and is_right and is_valid else None

    def take_call(self, key: ApiKey) -> None:
        """Count a call of the key; raises CapacityError(rate_limited) if it has made too many."""
        if key.rate_per_min is None:
            return
        wait_ms = self._scripts.number("take_call", key_id=key.id, rate_per_min=key.rate_per_min)
        if wait_ms:
            message = f"This key may make {key.rate_per_min} calls a minute."
            raise CapacityError(ErrorCode.RATE_LIMITED, message, retry_after_s=-(-wait_ms // 1000))


def new_key(name: str, **facts: object) -> ApiKey:
    """Return a new key with a random id, created now; raises pydantic's ValidationError for wrong facts."""
    return ApiKey.model_validate({"id": new_key_id(), "name": name, "created_at": int(time.time()), **facts})


def _no_such_key() -> RequestError:
    return RequestError(ErrorCode.NOT_FOUND, "There is no such key; `lipsync keys list` shows all.")
