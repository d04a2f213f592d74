"""Where the bytes of a job are: one folder a job, named by its id alone.

    <root>/jobs/<id>/video, audio, audio_mix      as uploaded: the format is recognised from the content
    <root>/jobs/<id>/result-<attempt>.mp4         put there complete, by one rename
    <root>/jobs/<id>/pieces/<name>                what the segments of a long clip share and make, by one rename each
    <root>/work/<id>-<attempt>/                   an attempt's own; gone when it ends
    <root>/work/<id>.<segment>-<attempt>/         that of an attempt at one segment

Service and workers see the same root. A result carries its attempt's number, so that a worker that was given up on
but lives cannot replace the result of the one that followed it; so does a piece.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.core.errors import CapacityError, ErrorCode

RESERVE_BYTES: Final = 256 * 1024**2  # kept free for results, records and the machine itself
PARTS: Final = ("video", "audio", "audio_mix")
_ID: Final = re.compile(r"[0-9a-f]{32}")
_PIECE: Final = re.compile(r"[a-z0-9-]+\.[a-z0-9]+")


class LocalStorage:
    """Hold the files of jobs under one folder."""

    def __init__(self, root: Path, reserve_bytes: int = RESERVE_BYTES) -> None:
        self._root = root.resolve()
        self._reserve_bytes = reserve_bytes

    def prepare(self) -> None:
        """Make the folders; only this user may look into them."""
        for folder in (self._root, self._root / "jobs", self._root / "work"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job, which may not exist; raises ValueError for what is no id."""
        if not _ID.fullmatch(job_id):
            raise ValueError("not a job id")
        return self._root / "jobs" / job_id

    def upload(self, job_id: str, part: str) -> Path:
        """Return where an uploaded part lies."""
        if part not in PARTS:
            raise ValueError("not a part of a job")
        return self.folder(job_id) / part

    def result(self, job_id: str, attempt: int) -> Path:
        """Return where the result of an attempt lies."""
        return self.folder(job_id) / f"result-{attempt}.mp4"

    def create(self, job_id: str) -> Path:
        """Make the folder of a new job."""
        folder = self.folder(job_id)
        folder.mkdir(mode=0o700)
        return folder

    def publish(self, job_id: str, attempt: int, output: Path) -> None:
        """Make an attempt's output its result, complete or not at all; raises FileNotFoundError for a deleted job."""
        with output.open("rb") as file:
            os.fsync(file.fileno())
        output.replace(self.result(job_id, attempt))

    def drop_result(self, job_id: str, attempt: int) -> None:
        """Remove a result that was not accepted."""
        self.result(job_id, attempt).unlink(missing_ok=True)

    def piece(self, job_id: str, name: str) -> Path:
        """Return where a piece lies that an attempt at the plan or at a segment left for the others."""
        if not _PIECE.fullmatch(name):
            raise ValueError("not the name of a piece")
        return self.folder(job_id) / "pieces" / name

    def publish_piece(self, job_id: str, name: str, made: Path) -> None:
        """Make a file a piece, complete or not at all; raises FileNotFoundError for a deleted job."""
        target = self.piece(job_id, name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        with made.open("rb") as file:
            os.fsync(file.fileno())
        made.replace(target)

    def drop_piece(self, job_id: str, name: str) -> None:
        """Remove a piece that was not accepted."""
        self.piece(job_id, name).unlink(missing_ok=True)

    def drop_pieces(self, job_id: str) -> None:
        """Remove all pieces of a job that has its result."""
        remove_folder(self.folder(job_id) / "pieces")

    def delete(self, job_id: str) -> None:
        """Remove everything of a job, whether or not it is there; a writer in the same moment is waited for briefly."""
        folder = self.folder(job_id)
        for _ in range(5):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                return
            time.sleep(0.05)

    def work_folder(self, job_id: str, attempt: int, segment: int | None = None) -> Path:
        """Make and return an attempt's own folder, on the disk of the results; those of dead attempts go."""
        self.folder(job_id)
        unit = job_id if segment is None else f"{job_id}.{segment}"
        for old in (self._root / "work").glob(f"{unit}-*"):
            remove_folder(old)
        folder = self._root / "work" / f"{unit}-{attempt}"
        folder.mkdir(mode=0o700)
        return folder

    def free_bytes(self) -> int:
        """Return what uploads and results may still take."""
        return shutil.disk_usage(self._root).free - self._reserve_bytes

    def check_room(self, wanted_bytes: int) -> None:
        """Raise CapacityError(storage_full) where that much does not fit."""
        if self.free_bytes() < wanted_bytes:
            raise CapacityError(ErrorCode.STORAGE_FULL, "The service has no disk space left.", retry_after_s=60)

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield ids of jobs in whose folder nothing was written for that long."""
        for folder in (self._root / "jobs").iterdir():
            if _ID.fullmatch(folder.name) and _idle_s(folder) > idle_s:
                yield folder.name

    def idle_work(self, idle_s: float) -> Iterator[tuple[str, int | None, Path]]:
        """Yield job id, attempt (None: one at a segment) and path of work folders not written to for that long."""
        for folder in (self._root / "work").iterdir():
            unit, _, attempt = folder.name.partition("-")
            job_id, _, segment = unit.partition(".")
            if _ID.fullmatch(job_id) and attempt.isdigit() and _idle_s(folder) > idle_s:
                yield job_id, None if segment else int(attempt), folder


def remove_folder(folder: Path) -> None:
    """Remove a work folder with all in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _idle_s(folder: Path) -> float:
    """Return the seconds since anything in the folder was last written; 0 where it vanishes meanwhile."""
    try:
        newest = max([folder.stat().st_mtime, *(path.stat().st_mtime for path in folder.iterdir())])
    except FileNotFoundError:
        return 0.0
    return time.time() - newest
