"""The connection to Redis that records, reaper and readiness share: every wait on it is bounded."""

from __future__ import annotations

from typing import Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S: Final = 3.0
CONNECT_TIMEOUT_S: Final = 2.0
# What Redis answers, or fails to, where the same call can succeed later: it is away, a replica by now, or full.
REDIS_AWAY: Final = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError, redis.OutOfMemoryError)


def connect(url: str) -> redis.Redis:
    """Return a client for a redis://, rediss:// or unix:// address; every wait is bounded, nothing is sent yet."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S if not url.startswith("unix:") else None,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
    )


def connect_listener(url: str, block_s: float, most: int) -> redis.asyncio.Redis:
    """Return a client for an event loop whose reads may block that long, with at most so many connections."""
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        max_connections=most,
        socket_timeout=block_s + SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        # A connection that broke is made anew; a read that had no answer in all that time is not begun again.
        retry=AsyncRetry(ExponentialBackoff(cap=0.2, base=0.02), 1, supported_errors=(redis.ConnectionError,)),
    )
