"""Connections to Redis; every wait for an answer is bounded."""

from __future__ import annotations

from typing import Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S: Final = 3.0
CONNECT_TIMEOUT_S: Final = 2.0
# Errors after which the same call can succeed later: Redis cannot be reached, became a replica, or has no memory left.
REDIS_UNAVAILABLE: Final = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)


def connect(url: str) -> redis.Redis:
    """Return a client for a redis://, rediss:// or unix:// address; nothing is sent yet."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S if not url.startswith("unix:") else None,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
    )


def connect_listener(url: str, block_s: float, max_connections: int) -> redis.asyncio.Redis:
    """Return a client for an event loop, whose reads may block for `block_s`; at most `max_connections` at once."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        max_connections=max_connections,
        socket_timeout=block_s + SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        # A broken connection is made again. A read that got no answer in all that time is not repeated.
        retry=AsyncRetry(ExponentialBackoff(cap=0.2, base=0.02), 1, supported_errors=(redis.ConnectionError,)),
    )
