"""Addresses of Redis. This module alone reads them, so the records and the messages use the same database and login."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.connection import parse_url


def read_redis_address(url: str) -> dict[str, Any]:
    """Return the options of a connection, as redis-py reads them from redis://, rediss:// or unix:// addresses.

    Raises ValueError with a sentence that never repeats the address, because the address can hold a password.
    redis-py alone would pass over a wrong database, and find an unknown option at the first call.
    """
    try:
        parts = urlsplit(url)
        options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        raise ValueError("is not an address like redis://host:6379/0 or unix:///path?db=0") from None
    database = unquote(parts.path).strip("/")
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not database:
            raise ValueError("must name the absolute path of a socket, as in unix:///path")
    elif database and not (database.isascii() and database.isdigit()):
        raise ValueError("must end with the number of a database, as in redis://host:6379/0")
    if options.get("db", 0) < 0:
        raise ValueError("names a database below 0")
    try:
        redis.Redis.from_url(url).connection_pool.make_connection()
    except (TypeError, ValueError, redis.RedisError):
        raise ValueError("has an option that is unknown or wrong") from None
    return options
