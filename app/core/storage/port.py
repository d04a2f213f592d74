"""The storage of jobs' files: the interface (port), and the names of the files.

    <job id>/video, audio, audio_mix      as uploaded; the format is recognised from the content
    <job id>/voice-<N>                    the voice of entry N of the option `segments`, as uploaded
    <upload id>/upload                    file that a client sent straight to a bucket, before a job names it
    <job id>/result-<attempt>.mp4         the finished MP4, complete or absent
    <job id>/<any other name>             piece of a long clip (plan or finished segment), until the job has its result

There are two implementations, a folder and a bucket; `app.core.storage.open` chooses. The API and the workers see the
same files from any number of hosts.

The name of a result or a piece contains the number of its attempt. An attempt that was given up but still runs can
therefore not replace what the next attempt made. Unfinished files are not in the storage: each host has its own folder
for them (`app.core.storage.workspace`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from app.core.checks import Check
from app.core.dubs import VOICE_PREFIX
from app.core.errors import ErrorCode, ServiceError

PARTS: Final = ("video", "audio", "audio_mix")
UPLOAD: Final = "upload"
CHUNK_BYTES: Final = 256 * 1024
_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class StorageUnavailableError(ServiceError):
    """Storage that does not answer; the same call can succeed later."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The storage does not answer; try again shortly.", retry_after_s=5)


class Storage(Protocol):
    """Files of all jobs.

    Every method may raise StorageUnavailableError or OSError, and ValueError for a wrong job id or file name. `check`
    is called at least once a second while bytes move; if it raises, the transfer stops and leaves nothing half done.
    """

    def put(self, job_id: str, name: str, path: Path, check: Check = ...) -> None:
        """Store the file at `path`, complete or not at all; it replaces a file of the same name.

        The file may be moved away from `path`. Raises CapacityError(storage_full).
        """

    def fetch(self, job_id: str, name: str, folder: Path, check: Check = ...) -> Path:
        """Return a path on this host from which the file can be read; the caller must not write there.

        A file that is not on this host is copied to `folder`, unless the copy is already there. Raises
        FileNotFoundError.
        """

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes from `start` up to but not including `end`, in chunks.

        Raises FileNotFoundError at once, not at the first chunk.
        """

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return an address from which anyone can download the file for `expires_s` seconds.

        Return None if the storage has no such addresses; the service then sends the file itself.
        """

    def upload_link(self, job_id: str, name: str, size_bytes: int, expires_s: int) -> str | None:
        """Return an address to which anyone can PUT a file of exactly this size, for `expires_s` seconds.

        Return None if the storage has no such addresses.
        """

    def size(self, job_id: str, name: str) -> int:
        """Return the size of the file in bytes; raises FileNotFoundError."""

    def names(self, job_id: str) -> list[str]:
        """Return the sorted names of the job's files; an empty list for an unknown job."""

    def remove(self, job_id: str, name: str) -> None:
        """Remove a file; a missing file is no error."""

    def delete(self, job_id: str) -> None:
        """Remove all files of a job; an unknown job is no error."""

    def check_space(self, wanted_bytes: int) -> None:
        """Raise CapacityError(storage_full) if that many bytes do not fit.

        Raises StorageUnavailableError if the storage does not answer.
        """

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield the ids of the jobs whose files have not been written to for `idle_s` seconds."""


def check_id(job_id: str) -> str:
    """Return the id; raises ValueError if it is not a job id."""
    if not is_id(job_id):
        raise ValueError("not a job id")
    return job_id


def is_id(text: str) -> bool:
    """Return whether the text is a job id."""
    return _ID.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return the name; raises ValueError if no file of a job can have it."""
    if not _NAME.fullmatch(name):
        raise ValueError("not a name of a job's file")
    return name


def keep_result(storage: Storage, job_id: str, attempt: int) -> None:
    """Remove everything but the inputs and the result of this attempt: pieces, and results of other attempts."""
    for name in storage.names(job_id):
        is_input = name in PARTS or name.startswith(VOICE_PREFIX)
        if not is_input and name != result_name(attempt):
            storage.remove(job_id, name)


def result_name(attempt: int) -> str:
    """Return the file name of an attempt's result."""
    return f"result-{attempt}.mp4"
