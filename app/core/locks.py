"""Exclusive locks on files, between threads and processes of one host.

The kernel releases a lock when the process that holds it dies, so a crash leaves no lock behind. Lock files stay in
place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from app.core.checks import Check
from app.core.errors import ErrorCode, ServiceError

POLL_S: Final = 0.2


class FolderInUseError(ServiceError):
    """Data folder that another process uses."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "Another `lipsync serve` uses this data folder.")


@contextmanager
def locked(path: Path, check: Check) -> Iterator[None]:
    """Hold the lock file at `path` alone; `check` is called while another user holds it, and may raise to give up."""

    def is_canceled() -> bool:
        check()
        return False

    with _lock(path).acquire(cancel_check=is_canceled):
        yield


@contextmanager
def sole_use(data_dir: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the data folder for this process alone, and make it if it is missing.

    Raises FolderInUseError if another process still uses the folder after `wait_s` seconds, and ServiceError if the
    folder cannot be locked.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = _lock(data_dir / ".lock")
    try:
        lock.acquire(timeout=wait_s)
    except Timeout:
        raise FolderInUseError from None
    except OSError as error:
        message = f"The data folder cannot be locked: {error.strerror}."
        raise ServiceError(ErrorCode.INTERNAL, message) from None
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path) -> FileLock:
    # `preserve_lock_file` also rules out the library's fallback, a lock that would outlive a killed process.
    return FileLock(path, poll_interval=POLL_S, preserve_lock_file=True)
