"""A host's own disk: what comes in, what is being made, and the inputs that were fetched. Nothing here is a job's only
copy once the job is accepted or has ended.

    <root>/incoming/<id>/            a form as it arrives
    <root>/inputs/<id>/              fetched for the attempts that run here; kept for a while for the next of them
    <root>/work/<id>-<attempt>-<..>/ an attempt's own; gone when it ends

Whoever uses a folder holds a lock on it, which the kernel lets go when the process dies. So the sweep, in any process,
knows what a crash left behind and never takes what is in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from app.core.storage.disk_space import RESERVE_BYTES, check_space, idle_s_of
from app.core.storage.port import check_id

FOLDERS: Final = ("incoming", "inputs", "work")
IDLE_S: Final = 120.0  # the next attempt or segment of a job may want the same inputs; also covers the moment of making


class Workspace:
    """Give out folders on this host's disk, and take them back."""

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root.resolve()
        self._reserve_bytes = reserve_bytes
        self._lock = threading.Lock()
        self._promised_bytes = 0

    def prepare(self) -> None:
        """Make the folders; only this user may look into them."""
        for folder in (self._root, *(self._root / name for name in FOLDERS)):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def incoming(self, job_id: str) -> Iterator[Path]:
        """Give a new folder for the files of a form; it goes at the end."""
        folder = self._root / "incoming" / check_id(job_id)
        folder.mkdir(mode=0o700)
        with _removed(folder):
            yield folder

    @contextmanager
    def work_folder(self, job_id: str, attempt: int) -> Iterator[Path]:
        """Give an attempt a new folder, also where it has others; it goes at the end."""
        prefix = f"{check_id(job_id)}-{attempt}-"
        with _removed(Path(tempfile.mkdtemp(prefix=prefix, dir=self._root / "work"))) as folder:
            yield folder

    @contextmanager
    def inputs(self, job_id: str) -> Iterator[Path]:
        """Give the folder for a job's fetched inputs, which all attempts on this host share; what is in it stays."""
        folder = self._root / "inputs" / check_id(job_id)
        descriptor = _hold_shared(folder)
        try:
            yield folder
            os.utime(folder)
        finally:
            with suppress(OSError):  # in use elsewhere, or not empty: it stays for the next
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                folder.rmdir()
            os.close(descriptor)

    def free_bytes(self) -> int:
        """Return what may still be written here."""
        return shutil.disk_usage(self._root).free - self._reserve_bytes - self._promised_bytes

    def check_space(self, wanted_bytes: int) -> None:
        """Raise CapacityError(storage_full) where that much does not fit."""
        check_space(self._root, wanted_bytes + self._reserve_bytes + self._promised_bytes)

    @contextmanager
    def reserve(self, wanted_bytes: int) -> Iterator[None]:
        """Promise so much of the disk for a while; raises CapacityError(storage_full) where it does not fit."""
        with self._lock:
            self.check_space(wanted_bytes)
            self._promised_bytes += wanted_bytes
        try:
            yield
        finally:
            with self._lock:
                self._promised_bytes -= wanted_bytes

    def sweep(self, idle_s: float = IDLE_S) -> int:
        """Remove the folders that nobody holds and nothing was written to for that long; return how many."""
        return sum(
            _remove_unheld(folder)
            for name in FOLDERS
            for folder in (self._root / name).glob("*")
            if idle_s_of(folder) > idle_s
        )


@contextmanager
def _removed(folder: Path) -> Iterator[Path]:
    """Hold a new folder, and remove it with all in it at the end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _hold_shared(folder: Path) -> int:
    """Make the folder where it is missing and hold it; return the descriptor to close. A sweep may be ahead of us."""
    while True:
        with suppress(FileExistsError):  # not exist_ok, which fails where a sweep removes the folder just then
            folder.mkdir(mode=0o700)
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_SH)  # a sweep holds it for one removal only
        with suppress(FileNotFoundError):
            if os.path.samestat(folder.stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _remove_unheld(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False  # gone, or no folder at all
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
