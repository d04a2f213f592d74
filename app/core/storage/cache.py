"""Cache of what jobs found in their inputs, on the disk of one host, so that it is not found twice.

    <root>/<key>/<sha256 of the content>.entry    complete or absent
    <root>/<key>/<job id>.user                    empty: a job that made or used the entry

A key is a hash of the owner, of the input, and of all that the finding depends on. So nobody gets what was found in
somebody else's file, and no program gets what another version found. An entry whose content does not fit its name is
removed and counts as absent.

Findings in a film tell of the people in it, so they do not outlive it: an entry is removed once all jobs that made or
used it are deleted or expired, at once on the host of the front end that deletes a job, elsewhere by the next sweep.
While the entries take more than the bound, those that were not used for longest are removed.

Nothing here stops a job: what cannot be read or written is logged, and found again.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from app.core.files import file_sha256
from app.core.storage.disk_space import RESERVE_BYTES
from app.core.storage.port import check_id

FOLDER: Final = "cache"  # in the data folder of a host
ENTRY, USER = ".entry", ".user"

_log = logging.getLogger("lipsync.cache")


class _Stored(NamedTuple):
    """Entry on the disk: when it was last used, its size in bytes, and its folder."""

    used_at: float
    size: int
    folder: Path


class Cache:
    """Entries of all jobs on this host; several processes may use them at the same time. max_bytes: 0 keeps none."""

    def __init__(self, root: Path, max_bytes: int, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root, self._max_bytes, self._reserve_bytes = root, max_bytes, reserve_bytes
        self._known_bytes: int | None = None  # of all entries, at least; others write too, so a sweep counts again

    def of_job(self, owner: str, job_id: str) -> JobCache:
        """Return the cache as a job of an owner sees it."""
        return JobCache(self, owner, check_id(job_id))

    def get(self, key: str, job_id: str) -> Path | None:
        """Return the file of an entry, which the caller must not change; None if there is none.

        Another process may remove the file at any time; what is open stays readable.
        """
        folder = self._root / key
        try:
            for path in sorted(folder.glob(f"*{ENTRY}"), key=lambda path: -path.stat().st_mtime):
                (folder / f"{job_id}{USER}").touch()
                if file_sha256(path) == path.stem:
                    os.utime(path)
                    return path
                _log.warning("damaged entry removed key=%s", key)
                path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("entry not read key=%s error=%s", key, error)
        return None

    def put(self, key: str, job_id: str, write: Callable[[Path], None]) -> None:
        """Keep an entry; it replaces an earlier one. write(path): writes its content into a new file."""
        folder = self._root / key
        try:
            for made in (self._root, folder):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            (folder / f"{job_id}{USER}").touch()
            partial = folder / f".{secrets.token_hex(8)}.partial"
            try:
                write(partial)
                size, path = partial.stat().st_size, folder / f"{file_sha256(partial)}{ENTRY}"
                if size > self._max_bytes or shutil.disk_usage(folder).free < self._reserve_bytes:
                    return
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            for other in folder.glob(f"*{ENTRY}"):
                if other != path:
                    other.unlink(missing_ok=True)
            self._bound(size)
        except OSError as error:
            _log.warning("entry not kept key=%s error=%s", key, error)

    def remove(self, key: str) -> None:
        """Remove an entry whose content turned out to be of no use."""
        shutil.rmtree(self._root / key, ignore_errors=True)

    def forget(self, job_id: str) -> None:
        """Remove the entries that no job but this one has made or used; the sweeps of other hosts do so later."""
        for user in self._root.glob(f"*/{check_id(job_id)}{USER}"):
            user.unlink(missing_ok=True)
            if not _users(user.parent):
                shutil.rmtree(user.parent, ignore_errors=True)

    def sweep(self, needs: Callable[[str], bool]) -> int:
        """Remove the entries that no job needs any more, and those beyond the bound; return how many.

        needs(job_id): whether the files of a job are still kept.
        """
        removed = 0
        known: dict[str, bool] = {}
        for folder in self._folders():
            users = _users(folder)
            for job_id in users:
                if job_id not in known:
                    known[job_id] = needs(job_id)
                if not known[job_id]:
                    (folder / f"{job_id}{USER}").unlink(missing_ok=True)
            if not any(known[job_id] for job_id in users):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed + self._evict()

    def _bound(self, added_bytes: int) -> None:
        if self._known_bytes is None or self._known_bytes + added_bytes > self._max_bytes:
            self._evict()
        else:
            self._known_bytes += added_bytes

    def _evict(self) -> int:
        """Remove the entries that were not used for longest while all take more than the bound; return how many."""
        entries = sorted(self._stored())
        total, removed = sum(entry.size for entry in entries), 0
        for entry in entries:
            if total <= self._max_bytes:
                break
            shutil.rmtree(entry.folder, ignore_errors=True)
            total, removed = total - entry.size, removed + 1
        self._known_bytes = total
        return removed

    def _stored(self) -> list[_Stored]:
        found = []
        for folder in self._folders():
            try:
                files = [path.stat() for path in folder.iterdir()]
            except OSError:  # another process has just removed it
                continue
            used_at = max((file.st_mtime for file in files), default=0.0)
            found.append(_Stored(used_at, sum(file.st_size for file in files), folder))
        return found

    def _folders(self) -> list[Path]:
        try:
            return [folder for folder in self._root.iterdir() if folder.is_dir()]
        except FileNotFoundError:
            return []


def _users(folder: Path) -> list[str]:
    """Return the ids of the jobs that made or used an entry; none if another process has just removed it."""
    try:
        return [path.stem for path in folder.iterdir() if path.suffix == USER]
    except FileNotFoundError:
        return []


@dataclass(frozen=True)
class JobCache:
    """Cache as one job sees it."""

    cache: Cache
    owner: str
    job_id: str

    def entry(self, kind: str, *parts: object) -> Entry:
        """Return the entry of a finding; parts: all that it depends on besides the owner, as texts that tell it."""
        key = hashlib.sha256("\n".join([self.owner, kind, *map(repr, parts)]).encode()).hexdigest()
        return Entry(self, key)


@dataclass(frozen=True)
class Entry:
    """Place of one finding in the cache."""

    of_job: JobCache
    key: str

    def get(self) -> Path | None:
        """Return the file with the finding, None if there is none; see `Cache.get`."""
        return self.of_job.cache.get(self.key, self.of_job.job_id)

    def put(self, write: Callable[[Path], None]) -> None:
        """Keep the finding; see `Cache.put`."""
        self.of_job.cache.put(self.key, self.of_job.job_id, write)

    def remove(self) -> None:
        """Remove the finding."""
        self.of_job.cache.remove(self.key)
