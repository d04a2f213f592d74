"""Where the bytes of jobs are kept: a port with two implementations, chosen in `app.core.storage.open`.

    <job id>/video, audio, audio_mix      as uploaded: the format is recognised from the content
    <job id>/result-<attempt>.mp4         complete or not there
    <job id>/<any other name>             what the segments of a long clip share and make, until there is a result

API and workers on any number of hosts see the same files. A result carries its attempt's number, so that a worker that
was given up on but lives cannot replace the result of the one that followed it; so does a piece. What is still being
written lies in a host's own `app.core.storage.workspace`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from app.core.checks import Check
from app.core.errors import ErrorCode, ServiceError

PARTS: Final = ("video", "audio", "audio_mix")
CHUNK_BYTES: Final = 256 * 1024
_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class StorageUnavailableError(ServiceError):
    """Report a storage that does not answer; the same call can succeed later."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The storage does not answer; try again shortly.", retry_after_s=5)


class Storage(Protocol):
    """Keep the files of jobs.

    Every method may raise StorageUnavailableError or OSError, and ValueError for what is no job's id or no name. `check` is
    called at least once a second while bytes move; what it raises stops the move and leaves nothing half done.
    """

    def put(self, job_id: str, name: str, path: Path, check: Check = ...) -> None:
        """Keep the file at the path, complete or not at all, instead of one of the same name; it may leave its place.

        Raises CapacityError(storage_full).
        """

    def fetch(self, job_id: str, name: str, folder: Path, check: Check = ...) -> Path:
        """Return where the file can be read on this host, in `folder` if it had to be copied; never write there.

        A copy that lies in the folder already is taken for it. Raises FileNotFoundError.
        """

    def read(self, job_id: str, name: str, start: int, end: int) -> Iterator[bytes]:
        """Return the bytes from `start` up to but not including `end`, in chunks; raises FileNotFoundError at once."""

    def link(self, job_id: str, name: str, filename: str, media_type: str, expires_s: int) -> str | None:
        """Return an address that gives the file to anyone for that long; None where the service has to serve it."""

    def names(self, job_id: str) -> list[str]:
        """Return the names of the job's files, sorted; none for a job that is not there."""

    def remove(self, job_id: str, name: str) -> None:
        """Remove a file, whether or not it is there."""

    def delete(self, job_id: str) -> None:
        """Remove everything of a job, whether or not it is there."""

    def check_space(self, wanted_bytes: int) -> None:
        """Raise CapacityError(storage_full) where that much does not fit, StorageUnavailableError where nothing answers."""

    def idle_jobs(self, idle_s: float) -> Iterator[str]:
        """Yield ids of jobs of which nothing was written for that long."""


def check_id(job_id: str) -> str:
    """Return the id; raises ValueError for what is none."""
    if not _ID.fullmatch(job_id):
        raise ValueError("not a job id")
    return job_id


def is_id(text: str) -> bool:
    """Tell whether a text is a job's id."""
    return _ID.fullmatch(text) is not None


def check_name(name: str) -> str:
    """Return the name of a file; raises ValueError for what is none."""
    if not _NAME.fullmatch(name):
        raise ValueError("not a name of a job's file")
    return name


def keep_result(storage: Storage, job_id: str, attempt: int) -> None:
    """Remove the pieces of a job that has its result, and the results of attempts that were given up on."""
    for name in storage.names(job_id):
        if name not in (*PARTS, result_name(attempt)):
            storage.remove(job_id, name)


def result_name(attempt: int) -> str:
    """Return the name of an attempt's result."""
    return f"result-{attempt}.mp4"
