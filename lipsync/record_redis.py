"""The Redis with the records, for a command that is not part of the service.

It is the one of LIPSYNC_REDIS_URL, or the private one of a running `lipsync serve`. If no service runs, the private
Redis is started for the length of the command. Its data folder may be relative to the working directory, so a command
can meet another one than the service has: the store has a name for the user, and only some commands make a new folder.
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

from app.core.errors import ErrorCode, RequestError, ServiceError
from app.core.locks import FolderInUseError, sole_use
from app.core.output_path import shown
from app.core.private_redis import published_socket, redis_command, redis_folder
from app.core.queue import DEFAULT_PORT
from app.core.records.connection import connect
from app.core.redis_address import read_redis_address
from app.core.settings import Settings
from lipsync.supervised_process import SupervisedProcess
from lipsync.supervisor import await_redis, end_all

OTHERS_S: Final = 20.0  # a start of `lipsync serve` until its Redis listens, with the check of the network


def store_name(settings: Settings) -> str:
    """Return where the records are, for the user: a data folder, or an address of Redis without user and password."""
    if settings.redis_url is None:
        return f"the data folder {shown(settings.data_dir.absolute())}"
    options = read_redis_address(settings.redis_url)
    place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', DEFAULT_PORT)}"
    return f"the Redis at {place}, database {options.get('db', 0)}"


@contextmanager
def record_redis(settings: Settings, *, may_make_folder: bool = False) -> Iterator[redis.Redis]:
    """Yield a client of the Redis with the records; raises ServiceError if it does not answer.

    Raises RequestError(not_found) if there is no data folder and none may be made.
    """
    if settings.redis_url is None and not may_make_folder and not settings.data_dir.exists():
        message = f"There is no data folder {shown(settings.data_dir.absolute())}."
        hint = "Set LIPSYNC_DATA_DIR or LIPSYNC_REDIS_URL to that of the service, or work in the folder of its start."
        raise RequestError(ErrorCode.NOT_FOUND, message, hint=hint)
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
