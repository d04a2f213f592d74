"""Files that are several complete files, one after the other, as programs write that join recordings byte by byte.

Ogg calls this chaining and allows it. Demuxers read FLAC and WAV only up to the end of the first file, and a chained
Ogg only while nothing changes. So each file is found here and opened alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple

from app.core.errors import ErrorCode, InputError

MAX_PARTS: Final = 10_000
OGG_HEADER_BYTES: Final = 27
OGG_START: Final = b"OggS"
OGG_PATTERN: Final = re.compile(OGG_START)
OGG_FIRST_PAGE: Final = 2  # flag of the first page of a stream
FLAC_START: Final = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")  # the marker, and the header of the block that follows
RIFF_HEADER_BYTES: Final = 12
BLOCK_BYTES: Final = 1024 * 1024
PATTERN_BYTES: Final = 64


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
    with path.open("rb") as file:  # not a memory map: a long recording is larger than the memory of this process
        starts = finders[name](file)
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


def _ogg_starts(file: BinaryIO) -> list[int]:
    """Return the places at which a group of streams begins: a first page after a page that is none (RFC 3533)."""
    starts, at, was_first = [0], 0, True
    while len(header := _read_at(file, at, OGG_HEADER_BYTES)) == OGG_HEADER_BYTES:
        if not header.startswith(OGG_START):
            found = next(find_pattern(file, OGG_PATTERN, at + 1), None)
            if found is None:
                break
            at = found
            continue
        is_first = bool(header[5] & OGG_FIRST_PAGE)
        if is_first and not was_first:
            starts.append(at)
        was_first = is_first
        segments = header[-1]
        at += OGG_HEADER_BYTES + segments + sum(file.read(segments))
    return starts


def _flac_starts(file: BinaryIO) -> list[int]:
    return list(find_pattern(file, FLAC_START, 0)) or [0]


def _wav_starts(file: BinaryIO) -> list[int]:
    starts, at = [], 0
    while (header := _read_at(file, at, RIFF_HEADER_BYTES)).startswith(b"RIFF") and header.endswith(b"WAVE"):
        starts.append(at)
        size = int.from_bytes(header[4:8], "little")
        at += 8 + size + size % 2
    return starts or [0]


def _read_at(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def find_pattern(file: BinaryIO, pattern: re.Pattern[bytes], at: int) -> Iterator[int]:
    """Yield the places from `at` on where a pattern of at most PATTERN_BYTES matches."""
    while block := _read_at(file, at, BLOCK_BYTES):
        # a match that begins in the last bytes may go on behind them; it is found in the next block
        is_last = len(block) < BLOCK_BYTES
        end = len(block) if is_last else len(block) - PATTERN_BYTES
        yield from (at + found.start() for found in pattern.finditer(block) if found.start() < end)
        if is_last:
            return
        at += end
