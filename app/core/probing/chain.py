"""Files that are several complete files, one after the other, as programs write that join recordings byte by byte.

Ogg calls this chaining and allows it. Demuxers read FLAC and WAV only up to the end of the first file, and a chained
Ogg only while nothing changes. So each file is found here and opened alone.
"""

from __future__ import annotations

import io
import mmap
import re
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from app.core.errors import ErrorCode, InputError

MAX_PARTS: Final = 10_000
OGG_HEADER_BYTES: Final = 27
OGG_FIRST_PAGE: Final = 2  # flag of the first page of a stream
FLAC_START: Final = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # the marker, and the header of the block that follows
RIFF_HEADER_BYTES: Final = 12


class Part(NamedTuple):
    """Bytes [start, end) of a file."""

    start: int
    end: int


def find_parts(path: Path, name: str) -> list[Part]:
    """Return the parts of a file of the format `name`; one part for most files. Raises InputError."""
    size = path.stat().st_size
    finders = {"ogg": _ogg_starts, "flac": _flac_starts, "wav": _wav_starts}
    if name not in finders or size == 0:
        return [Part(0, size)]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = finders[name](data)
    if len(starts) > MAX_PARTS:
        raise InputError(ErrorCode.AUDIO_UNREADABLE, f"The sound consists of more than {MAX_PARTS} files.")
    starts = [0, *starts[1:]]
    return [Part(start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]


class PartOfFile:
    """Part of a file that PyAV reads as if it were a whole file; a context manager."""

    def __init__(self, path: Path, part: Part) -> None:
        self._path, self._part = path, part

    def __enter__(self) -> PartOfFile:
        self._file = self._path.open("rb")
        self._file.seek(self._part.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """Return at most so many bytes from the current place on."""
        return self._file.read(max(0, min(size, self._part.end - self._file.tell())))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in the part and return it."""
        origin = {io.SEEK_SET: self._part.start, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._part.end}[whence]
        return self._file.seek(max(self._part.start, origin + offset)) - self._part.start

    def tell(self) -> int:
        """Return the current place in the part."""
        return self._file.tell() - self._part.start


def _ogg_starts(data: mmap.mmap) -> list[int]:
    """Return the places at which a group of streams begins: a first page after a page that is none (RFC 3533)."""
    starts, at, was_first = [0], 0, True
    while at + OGG_HEADER_BYTES <= len(data):
        if data[at : at + 4] != b"OggS":
            at = data.find(b"OggS", at + 1)
            if at < 0:
                break
            continue
        is_first = bool(data[at + 5] & OGG_FIRST_PAGE)
        if is_first and not was_first:
            starts.append(at)
        was_first = is_first
        segments = data[at + OGG_HEADER_BYTES - 1]
        table = data[at + OGG_HEADER_BYTES : at + OGG_HEADER_BYTES + segments]
        at += OGG_HEADER_BYTES + segments + sum(table)
    return starts


def _flac_starts(data: mmap.mmap) -> list[int]:
    return [found.start() for found in FLAC_START.finditer(data)] or [0]


def _wav_starts(data: mmap.mmap) -> list[int]:
    starts, at = [], 0
    while data[at : at + 4] == b"RIFF" and data[at + 8 : at + RIFF_HEADER_BYTES] == b"WAVE":
        starts.append(at)
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return starts or [0]
