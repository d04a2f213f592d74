"""Connections to Redis; every wait for an answer is bounded, and every refusal for its state is of one kind."""

from __future__ import annotations

import re
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S: Final = 3.0
CONNECT_TIMEOUT_S: Final = 2.0
# The same of an event loop, whose clock goes on while it is busy with others: a thousand may connect at once.
LOOP_TIMEOUT_S: Final = 8.0
# First words of answers with which Redis refuses work because of its own state: a disk that cannot be written, a full
# memory, a replica, a script that runs too long, an access list. A script's error carries the word behind a minus sign.
_REFUSALS: Final = re.compile(
    r"(?:^|-)(MISCONF|OOM|READONLY|LOADING|NOAUTH|WRONGPASS|NOPERM|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|"
    r"UNKILLABLE|DENIED)\b"
)


class RedisRefusedError(redis.RedisError):
    """Redis that refuses work because of its own state; the same call can succeed later."""


# Errors after which the same call can succeed later.
REDIS_UNAVAILABLE: Final = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.OutOfMemoryError,
    RedisRefusedError,
)


def is_unavailable(error: BaseException) -> bool:
    """Return whether an error says that Redis cannot work now, rather than that the call was wrong."""
    if isinstance(error, (*REDIS_UNAVAILABLE, redis.exceptions.NoPermissionError)):
        return True
    return isinstance(error, redis.ResponseError) and _REFUSALS.search(str(error)) is not None


class _Client(redis.Redis):
    """Client whose calls raise RedisRefusedError where Redis refuses them because of its state."""

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        """Send one command and return its answer; scripts come this way too."""
        try:
            return super().execute_command(*arguments, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            if is_unavailable(error):
                raise RedisRefusedError(str(error)) from error
            raise


def connect(url: str) -> redis.Redis:
    """Return a client for a redis://, rediss:// or unix:// address; nothing is sent yet."""
    return _Client.from_url(
        url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S if not url.startswith("unix:") else None,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 1),
    )


def connect_listener(url: str, block_s: float, max_connections: int) -> redis.asyncio.Redis:
    """Return a client for an event loop, whose reads may block for `block_s`; at most `max_connections` at once."""
    return _loop_client(url, block_s, max_connections)


def connect_reader(url: str) -> redis.asyncio.Redis:
    """Return a client for an event loop whose calls are short."""
    return _loop_client(url, 0, None)


def _loop_client(url: str, block_s: float, max_connections: int | None) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        url,
        decode_responses=True,
        max_connections=max_connections,
        socket_timeout=block_s + LOOP_TIMEOUT_S,
        socket_connect_timeout=LOOP_TIMEOUT_S,
        # A broken connection is made again. A call that got no answer in all that time is not repeated.
        retry=AsyncRetry(ExponentialBackoff(cap=0.2, base=0.02), 1, supported_errors=(redis.ConnectionError,)),
    )
