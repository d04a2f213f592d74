"""Working folders on one host's disk: uploads that arrive, fetched inputs, and the files of running attempts.

    <root>/incoming/<id>/            a form that is being received
    <root>/inputs/<id>/              inputs fetched for the attempts on this host; kept for a while for the next attempt
    <root>/work/<id>-<attempt>-<..>/ files of one attempt; removed when it ends

No folder here holds the only copy of a file that an accepted job still needs.

Each user of a folder holds a lock on it (flock), which the kernel releases when the process dies. The sweep, in any
process, therefore removes what a crash left behind, and never a folder in use. The locks are not those of
`app.core.locks`, because attempts share the lock on their inputs, and filelock has no shared lock on a folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from app.core.storage.disk_space import RESERVE_BYTES, check_space, idle_s_of
from app.core.storage.port import check_id

FOLDERS: Final = ("incoming", "inputs", "work")
IDLE_S: Final = 120.0  # time for the next attempt to reuse inputs, and between making a folder and locking it


class Workspace:
    """Working folders on this host's disk, and the space that is left on it."""

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root.resolve()
        self._reserve_bytes = reserve_bytes

    def prepare(self) -> None:
        """Make the folders, readable by this user only."""
        for folder in (self._root, *(self._root / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def incoming(self, job_id: str) -> Iterator[Path]:
        """Yield a new folder for the files of a form; it is removed at the end."""
        folder = self._root / "incoming" / check_id(job_id)
        folder.mkdir(mode=0o700)
        with _removed(folder):
            yield folder

    @contextmanager
    def work_folder(self, job_id: str, attempt: int) -> Iterator[Path]:
        """Yield a new folder for an attempt, which may have several; it is removed at the end."""
        prefix = f"{check_id(job_id)}-{attempt}-"
        with _removed(Path(tempfile.mkdtemp(prefix=prefix, dir=self._root / "work"))) as folder:
            yield folder

    @contextmanager
    def inputs(self, job_id: str) -> Iterator[Path]:
        """Yield the folder of a job's fetched inputs, shared by all attempts on this host; its files stay."""
        folder = self._root / "inputs" / check_id(job_id)
        descriptor = _hold_shared(folder)
        try:
            yield folder
            os.utime(folder)
        finally:
            with suppress(OSError):  # in use elsewhere, or not empty: stays for the next attempt
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder.rmdir()
            os.close(descriptor)

    def free_bytes(self) -> int:
        """Return how many bytes may still be written here."""
        return shutil.disk_usage(self._root).free - self._reserve_bytes

    def check_space(self, wanted_bytes: int) -> None:
        """Raise CapacityError(storage_full) if that many bytes do not fit."""
        check_space(self._root, wanted_bytes + self._reserve_bytes)

    def sweep(self, idle_s: float = IDLE_S) -> int:
        """Remove the folders that are not in use and were not written to for `idle_s` seconds; return how many."""
        return sum(
            _remove_unheld(folder)
            for name in FOLDERS
            for folder in (self._root / name).glob("*")
            if idle_s_of(folder) > idle_s
        )


@contextmanager
def _removed(folder: Path) -> Iterator[Path]:
    """Hold a shared lock on a new folder; remove the folder and its files at the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _hold_shared(folder: Path) -> int:
    """Make the folder if it is missing, hold a shared lock on it, and return the descriptor that holds the lock.

    A sweep can remove the folder at any moment before the lock is held; then the folder is made again.
    """
    while True:
        with suppress(FileExistsError):  # `exist_ok` would fail if a sweep removes the folder in the same moment
            folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # waits for a sweep, which holds its lock for one removal only
        with suppress(FileNotFoundError):
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _remove_unheld(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False  # gone, or not a folder
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
