"""The storage in a folder, on this machine's disk or on a network disk that all hosts mount.

The path of a file is <root>/jobs/<id>/<name>.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from app.core.checks import Check, never_stop
from app.core.files import replacing
from app.core.storage.disk_space import RESERVE_BYTES, check_space, idle_s_of
from app.core.storage.port import CHUNK_BYTES, StorageUnavailableError, check_id, check_name, is_id

UNAVAILABLE: Final = (errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)  # of network disks


class FolderStorage:
    """Files of all jobs under one folder, which must exist.

    If the folder is missing, its disk is not mounted, so the storage is unavailable. The same holds if the folder is
    there without `jobs` in it, as an empty mount point is. Only a new storage lacks `jobs` too, until the first `put`.
    """

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root.resolve()
        self._jobs = self._root / "jobs"
        self._reserve_bytes = reserve_bytes

    def put(self, job_id: str, name: str, path: Path, check: Check = never_stop) -> None:
        """Store the file by renaming it; a file on another disk is copied first."""
        target = self._path(job_id, name)
        check()
        with self._unavailable_errors():
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
        """Return the path of the stored file itself, without a copy."""
        path = self._path(job_id, name)
        check()
        with self._unavailable_errors():
            if not path.is_file():
                raise FileNotFoundError(errno.ENOENT, "no such file of a job", name)
        return path

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes; the file is opened now, so it can be read to its end even if it is deleted meanwhile."""
        path = self._path(job_id, name)
        with self._unavailable_errors():
            file = path.open("rb")
        file.seek(start)
        return _chunks(file, end - start)

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return None: a folder has no addresses of its own."""
        return None

    def upload_link(self, job_id: str, name: str, size_bytes: int, expires_s: int) -> str | None:
        """Return None: a folder takes files from the service alone."""
        return None

    def size(self, job_id: str, name: str) -> int:
        """Return the size of the file in bytes."""
        path = self._path(job_id, name)
        with self._unavailable_errors():
            return path.stat().st_size

    def names(self, job_id: str) -> list[str]:
        """Return the sorted names; a file that is still being copied is not among them."""
        folder = self._folder(job_id)
        try:
            with self._unavailable_errors():
                return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []

    def remove(self, job_id: str, name: str) -> None:
        """Remove a file; a missing file is no error."""
        path = self._path(job_id, name)
        with suppress(FileNotFoundError), self._unavailable_errors():
            path.unlink()

    def delete(self, job_id: str) -> None:
        """Remove the folder of a job; repeated for a quarter of a second if a writer adds files meanwhile."""
        folder = self._folder(job_id)
        for _ in range(5):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with self._unavailable_errors():
                    folder.stat()
            except FileNotFoundError:
                return
            time.sleep(0.05)
        raise StorageUnavailableError

    def check_space(self, wanted_bytes: int) -> None:
        """Raise CapacityError if the disk has too little space, StorageUnavailableError if the folder is missing."""
        try:
            check_space(self._root, wanted_bytes + self._reserve_bytes)
        except OSError:
            raise StorageUnavailableError from None

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield the ids of idle jobs, judged by the modification times of their folders and files."""
        for folder in self._jobs.glob("*"):
            if is_id(folder.name) and idle_s_of(folder) > idle_s:
                yield folder.name

    def _folder(self, job_id: str) -> Path:
        return self._jobs / check_id(job_id)

    def _path(self, job_id: str, name: str) -> Path:
        return self._folder(job_id) / check_name(name)

    @contextmanager
    def _unavailable_errors(self) -> Iterator[None]:
        """Turn the errors of a disk that is not mounted or does not answer into StorageUnavailableError."""
        try:
            yield
        except FileNotFoundError:
            if not self._jobs.is_dir():
                raise StorageUnavailableError from None
            raise
        except OSError as error:
            if error.errno in UNAVAILABLE:
                raise StorageUnavailableError from None
            raise

    def _make_folder(self, folder: Path) -> None:
        for made in (self._jobs, folder):
            with suppress(FileExistsError):  # `exist_ok` would fail if the folder is deleted in the same moment
                made.mkdir(mode=0o700)  # readable by this user only


def _copy(source: BinaryIO, target: Path, check: Check) -> None:
    with replacing(target) as partial, partial.open("xb") as copy:
        while chunk := source.read(CHUNK_BYTES):
            check()
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())  # the bytes must be on the disk before the rename is


def _sync_folder(folder: Path) -> None:
    """Write the names in the folder to the disk, so that they survive a power cut; the folder may be gone by now."""
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
