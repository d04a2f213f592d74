"""The Redis with the records, for a command that is not part of the service.

It is the one of LIPSYNC_REDIS_URL, or the private one of a running `lipsync serve`. If no service runs, the private
Redis is started for the length of the command.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

import redis

from app.core.errors import ErrorCode, ServiceError
from app.core.locks import FolderInUseError, sole_use
from app.core.private_redis import published_socket, redis_command, redis_folder
from app.core.records.connection import connect
from app.core.settings import Settings
from lipsync.supervised_process import SupervisedProcess
from lipsync.supervisor import await_redis, end_all

OTHERS_S: Final = 20.0  # a start of `lipsync serve` until its Redis listens, with the check of the network


@contextmanager
def record_redis(settings: Settings) -> Iterator[redis.Redis]:
    """Yield a client of the Redis with the records; raises ServiceError if it does not answer."""
    if settings.redis_url is not None:
        with closing(_answering(settings.redis_url)) as client:
            yield client
        return
    with ExitStack() as held:
        unix_socket = _served_socket(settings.data_dir, held)
        if unix_socket is not None:
            yield held.enter_context(closing(_answering(f"unix://{unix_socket}")))
            return
        folder = held.enter_context(tempfile.TemporaryDirectory(prefix="lipsync-"))
        address = Path(folder, "redis.sock")
        command = redis_command(redis_folder(settings.data_dir), address)
        private_redis = SupervisedProcess("redis", command, dict(os.environ))
        private_redis.start()
        try:
            await_redis(f"unix://{address}", private_redis, threading.Event())
            with closing(connect(f"unix://{address}")) as client:
                yield client
        finally:
            end_all([], private_redis)


def _served_socket(data_dir: Path, held: ExitStack) -> Path | None:
    """Return the socket of a running `lipsync serve`; None if none runs, and the data folder is held from now on.

    A service that is starting, or another command, is waited for. Raises ServiceError.
    """
    deadline = time.monotonic() + OTHERS_S
    while True:
        unix_socket = published_socket(data_dir)
        if unix_socket is not None and _is_open(unix_socket):
            return unix_socket
        try:
            held.enter_context(sole_use(data_dir))
        except FolderInUseError:
            if time.monotonic() > deadline:
                raise
        else:
            return None
        time.sleep(0.05)


def _is_open(unix_socket: Path) -> bool:
    """Return whether a program listens at a socket; a killed Redis leaves its file behind."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(unix_socket))
        except OSError:
            return False
    return True


def _answering(url: str) -> redis.Redis:
    client = connect(url)
    try:
        client.ping()
    except redis.RedisError:
        raise ServiceError(ErrorCode.INTERNAL, "Redis does not answer.") from None
    return client
