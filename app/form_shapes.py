"""The two forms that the service receives: which fields may be there, and which must.

a job      video, audio, audio_mix: files, or their addresses as video_url, audio_url, audio_mix_url, or files that were
           sent to the bucket before, as video_upload, audio_upload, audio_mix_upload; and options, of which `segments`
           may name further files of any name
a batch    jobs: JSON that says of each job which files and options it has; webhook_url; and files of any name
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal, Protocol

from app.core.dubs import MAX_DUBS
from app.core.options import OPTION_NAMES, option_error, quoted
from app.core.storage.port import PARTS

REQUIRED: Final = ("video", "audio")
URL_FIELDS: Final = {f"{name}_url": name for name in PARTS}  # the part whose address a field holds
UPLOAD_FIELDS: Final = {f"{name}_upload": name for name in PARTS}  # the part of which a field holds the upload's id
PART_OF_FIELD: Final = URL_FIELDS | UPLOAD_FIELDS
BATCH_TEXTS: Final = {"jobs": 4 * 1024**2, "webhook_url": 2000}  # longest text in bytes
MAX_OPTION_BYTES: Final = 16 * 1024
MAX_SEGMENTS_BYTES: Final = 512 * 1024  # of the option `segments`: an address in each entry, and more
MAX_BATCH_FILES: Final = 1000
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")

FieldKind = Literal["file", "text"]


class FormShape(Protocol):
    """Fields of a form."""

    @property
    def max_files(self) -> int:
        """Return the most files of one form."""

    def kind(self, name: str, has_filename: bool) -> FieldKind | None:
        """Return what a field holds, None if there is no such field.

        has_filename: the sender says that it is a file.
        """

    def max_text_bytes(self, name: str) -> int:
        """Return the longest text of a field."""

    def check_complete(self, files: Collection[str], texts: Collection[str]) -> None:
        """Raise InputError(option_invalid) if a field is missing or one too many."""


class JobForm:
    """Form of a job."""

    max_files = len(PARTS) + MAX_DUBS

    def kind(self, name: str, has_filename: bool) -> FieldKind | None:
        """Return what a field holds, None if there is no such field."""
        if name in PARTS:
            return "file"
        if name in OPTION_NAMES or name in PART_OF_FIELD:
            return "text"
        return "file" if has_filename and _FILE_NAME.fullmatch(name) else None

    def max_text_bytes(self, name: str) -> int:
        """Return the longest text of a field."""
        return MAX_SEGMENTS_BYTES if name == "segments" else MAX_OPTION_BYTES

    def check_complete(self, files: Collection[str], texts: Collection[str]) -> None:
        """Raise InputError(option_invalid) if a file is missing, is sent twice or can have no use.

        Where `segments` names the voices, `app.core.dub_voices` checks the files beside the video.
        """
        has_segments = "segments" in texts
        for name in files:
            if name not in PARTS and not has_segments:
                missing = [part for part in REQUIRED if not _sources(part, files, texts)]
                further = f"; {missing[0]}: this file is required" if missing else ""
                raise option_error(f"{quoted(name)} is neither a file nor an option of a job{further}.")
        required = ("video",) if has_segments else REQUIRED
        for name in PARTS:
            sources = _sources(name, files, texts)
            if sources > 1:
                raise option_error(f"{name}: send the file, or its address, or its upload, not two of them.")
            if name in required and not sources:
                raise option_error(f"{name}: this file is required.")


def _sources(part: str, files: Collection[str], texts: Collection[str]) -> int:
    """Return in how many ways a part is sent."""
    return (part in files) + (f"{part}_url" in texts) + (f"{part}_upload" in texts)


class BatchForm:
    """Form of a batch."""

    max_files = MAX_BATCH_FILES

    def kind(self, name: str, has_filename: bool) -> FieldKind | None:
        """Return what a field holds, None if there is no such field."""
        if name in BATCH_TEXTS:
            return "text"
        return "file" if _FILE_NAME.fullmatch(name) else None

    def max_text_bytes(self, name: str) -> int:
        """Return the longest text of a field."""
        return BATCH_TEXTS[name]

    def check_complete(self, files: Collection[str], texts: Collection[str]) -> None:
        """Raise InputError(option_invalid) if the list of jobs is missing."""
        if "jobs" not in texts:
            raise option_error("jobs: this field is required.")
