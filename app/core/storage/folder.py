"""The storage that is a folder: on this machine's disk, or mounted by all hosts that work together.

A file is <root>/jobs/<id>/<name>.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from app.core.checks import Check, never_stop
from app.core.storage.disk_space import RESERVE_BYTES, check_space, idle_s_of
from app.core.storage.port import CHUNK_BYTES, StorageUnavailableError, check_id, check_name, is_id

AWAY: Final = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)  # what mounts answer then


class FolderStorage:
    """Keep the files of jobs under one folder, which is there: a missing one is a mount that is away.

    So is one without `jobs` in it, which only a storage lacks that was never used: what lies under a mount point.
    """

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root.resolve()
        self._jobs = self._root / "jobs"
        self._reserve_bytes = reserve_bytes

    def put(self, job_id: str, name: str, path: Path, check: Check = never_stop) -> None:
        """Keep the file by one rename; from another disk it is copied first."""
        target = self._path(job_id, name)
        check()
        with self._reached():
            self._make_folder(target.parent)
            with path.open("rb") as source:
                os.fsync(source.fileno())
                try:
                    path.replace(target)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    _copy(source, target, check)
            _sync_folder(target.parent)

    def fetch(self, job_id: str, name: str, folder: Path, check: Check = never_stop) -> Path:
        """Return the file itself."""
        path = self._path(job_id, name)
        check()
        with self._reached():
            if not path.is_file():
                raise FileNotFoundError(errno.ENOENT, "no such file of a job", name)
        return path

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes; once opened, the file may be deleted and the reading still ends."""
        path = self._path(job_id, name)
        with self._reached():
            file = path.open("rb")
        file.seek(start)
        return _chunks(file, end - start)

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return None: a folder has no address."""
        return None

    def names(self, job_id: str) -> list[str]:
        """Return the names; a file that is being copied has none yet."""
        folder = self._folder(job_id)
        try:
            with self._reached():
                return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    def remove(self, job_id: str, name: str) -> None:
        """Remove a file."""
        path = self._path(job_id, name)
        with suppress(FileNotFoundError), self._reached():
            path.unlink()

    def delete(self, job_id: str) -> None:
        """Remove the folder of a job; a writer in the same moment is waited for briefly."""
        folder = self._folder(job_id)
        for _ in range(5):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with self._reached():
                    folder.stat()
            except FileNotFoundError:
                return
            time.sleep(0.05)
        raise StorageUnavailableError

    def check_space(self, wanted_bytes: int) -> None:
        """Raise where the folder's disk is full or the folder is not there."""
        try:
            check_space(self._root, wanted_bytes + self._reserve_bytes)
        except OSError:
            raise StorageUnavailableError from None

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield ids by the times of their folders and files."""
        for folder in self._jobs.glob("*"):
            if is_id(folder.name) and idle_s_of(folder) > idle_s:
                yield folder.name

    def _folder(self, job_id: str) -> Path:
        return self._jobs / check_id(job_id)

    def _path(self, job_id: str, name: str) -> Path:
        return self._folder(job_id) / check_name(name)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turn the errors of a mount that is away into StorageUnavailableError."""
        try:
            yield
        except FileNotFoundError:
            if not self._jobs.is_dir():
                raise StorageUnavailableError from None
            raise
        except OSError as error:
            if error.errno in AWAY:
                raise StorageUnavailableError from None
            raise

    def _make_folder(self, folder: Path) -> None:
        for made in (self._jobs, folder):
            with suppress(FileExistsError):  # not exist_ok, which fails where it is deleted just then
                made.mkdir(mode=0o700)  # only this user may look into them


def _copy(source: BinaryIO, target: Path, check: Check) -> None:
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as copy:
            while chunk := source.read(CHUNK_BYTES):
                check()
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Have the names themselves survive a power cut; the folder may have been deleted meanwhile."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _chunks(file: BinaryIO, left: int) -> Iterator[bytes]:
    with file:
        while left > 0 and (chunk := file.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
