"""The connection to Redis that records, reaper and readiness share: every wait on it is bounded."""

from __future__ import annotations

from typing import Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S: Final = 3.0


def connect(url: str) -> redis.Redis:
    """Return a client for a redis://, rediss:// or unix:// address; every wait is bounded, nothing is sent yet."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=2.0 if not url.startswith("unix:") else None,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
    )
